//! `CodeSplitter`: divides source code at the syntax elements of its language.

use super::{
    Registered, Splitting,
    chunks::Chunking,
    recursive::{RecursiveSplitter, of_language},
};
use crate::load::Fields;

pub(super) const CODE_SPLITTER: Registered = Registered {
    class: "splitters.CodeSplitter",
    name: Some("CodeSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(read(fields)?)),
};

fn read(fields: Fields<'_>) -> Option<RecursiveSplitter> {
    // Without the parser's package, the reference uses regular expressions for both.
    fields.choice("parser", &[("regex", ()), ("tree_sitter", ())]);
    let chunking = Chunking::read(fields, true);
    let language = fields.text("language").unwrap_or("python");
    let separators = of_language(fields, "language", language)?;
    Some(RecursiveSplitter { chunking, separators, has_patterns: false })
}
