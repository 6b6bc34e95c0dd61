//! Limits on what is compiled of one file: its flows may list the same node many times, and it is compiled each time.

use super::yaml::{self, MAX_BYTES, MAX_VALUES, Size, Yaml};

/// Nodes that the flows of one file list, in total.
pub(super) const MAX_NODES: usize = 5_000;
/// Dependencies of the nodes of one flow, in total.
pub(super) const MAX_DEPENDS: usize = 20_000;
/// Connections of one file.
pub(super) const MAX_CONNECTIONS: usize = 1_000;
/// Regular expressions of one file.
const MAX_PATTERNS: usize = 500;
/// Bytes of the compiled regular expressions of one file, in total.
const MAX_PATTERN_BYTES: usize = 32 << 20;

/// What may still be compiled.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    nodes: usize,
    left: Size,
    patterns: usize,
    pattern_bytes: usize,
}

impl Default for Built {
    fn default() -> Self {
        Self {
            nodes: MAX_NODES,
            // Each value of the largest file may be compiled twice.
            left: Size { values: 2 * MAX_VALUES, bytes: 2 * MAX_BYTES },
            patterns: MAX_PATTERNS,
            pattern_bytes: MAX_PATTERN_BYTES,
        }
    }
}

impl Built {
    /// Charges for a node that a flow lists, before it is compiled.
    pub(super) fn node(&mut self, node: &Yaml) -> Result<(), String> {
        let exceeded = || format!("the flows of this file list more than {MAX_NODES} nodes");
        self.nodes = self.nodes.checked_sub(1).ok_or_else(exceeded)?;
        self.left.take(yaml::size(node)).map_err(|what| {
            format!("the nodes that the flows of this file list have too many {what} in total; list each node in fewer flows")
        })
    }

    /// Charges for a regular expression, before it is compiled.
    pub(super) fn pattern(&mut self) -> Result<(), String> {
        let exceeded = || format!("this file has more than {MAX_PATTERNS} regular expressions");
        self.patterns = self.patterns.checked_sub(1).ok_or_else(exceeded)?;
        Ok(())
    }

    /// Charges for the size of a compiled regular expression.
    pub(super) fn compiled(&mut self, bytes: usize) -> Result<(), String> {
        let exceeded = || {
            format!(
                "the regular expressions of this file take more than {MAX_PATTERN_BYTES} bytes; shorten their repetitions"
            )
        };
        self.pattern_bytes = self.pattern_bytes.checked_sub(bytes).ok_or_else(exceeded)?;
        Ok(())
    }
}
