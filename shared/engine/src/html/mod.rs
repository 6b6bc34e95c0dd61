//! HTML, parsed as browsers do, including malformed HTML.

mod markdown;
mod text;
mod tree;

pub(crate) use markdown::markdown;
pub(crate) use text::text;
pub(crate) use tree::{NodeId, NodeKind, Tree};
