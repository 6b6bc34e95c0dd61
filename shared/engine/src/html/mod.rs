//! HTML as browsers read it, whatever its faults.

mod markdown;
mod text;
mod tree;

pub(crate) use markdown::markdown;
pub(crate) use text::text;
pub(crate) use tree::{NodeId, NodeKind, Tree};
