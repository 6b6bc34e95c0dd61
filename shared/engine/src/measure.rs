//! The size of what is being made, counted before more memory is spent on it.

use crate::flow::NodeError;
use runyard_runs::{MAX_OUTPUT_BYTES, MAX_OUTPUT_VALUES, Size};
use serde_json::Value;

/// The size of an output that is made piece by piece.
#[derive(Debug, Default)]
pub(crate) struct OutputSize(Size);

impl OutputSize {
    /// Counts another piece; the error says that all of them are more than one node may give.
    pub(crate) fn add(&mut self, piece: &Value) -> Result<(), NodeError> {
        self.0 = self.0 + Size::of(piece);
        if self.0.values > MAX_OUTPUT_VALUES {
            return Err(NodeError::limit_exceeded(format!(
                "the output would hold more than {MAX_OUTPUT_VALUES} values: divide the data, or have fewer documents made of it"
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
    let most = MAX_OUTPUT_BYTES >> 20;
    NodeError::limit_exceeded(format!("the output would have more than {most} MiB: divide the data"))
}
