//! The size of an output while it is made, so that a limit stops it before it takes more memory.

use crate::flow::NodeError;
use runyard_runs::{MAX_OUTPUT_BYTES, MAX_OUTPUT_VALUES, Size};
use serde_json::Value;

/// The size of an output that is built piece by piece.
#[derive(Debug, Default)]
pub(crate) struct OutputSize(Size);

impl OutputSize {
    /// Counts another piece; fails if all pieces together exceed the limits of a node's output.
    pub(crate) fn add(&mut self, piece: &Value) -> Result<(), NodeError> {
        self.0 = self.0 + Size::of(piece);
        if self.0.values > MAX_OUTPUT_VALUES {
            return Err(NodeError::limit_exceeded(format!(
                "the output would hold more than {MAX_OUTPUT_VALUES} values: divide the data, or make fewer documents of it"
            )));
        }
        if self.0.bytes > MAX_OUTPUT_BYTES {
            return Err(too_long());
        }
        Ok(())
    }
}

/// The error of an output of more than [`MAX_OUTPUT_BYTES`].
pub(crate) fn too_long() -> NodeError {
    let max = MAX_OUTPUT_BYTES >> 20;
    NodeError::limit_exceeded(format!("the output would have more than {max} MiB: divide the data"))
}
