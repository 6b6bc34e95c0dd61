//! `TextFileConverter`: makes a document of each text file.

use super::{Converter, Converting, InputFile, Registered, TIMEOUT, with_path};
use crate::{
    charset,
    document::{Document, DocumentIds},
    flow::NodeError,
};
use serde::{Deserialize, Serialize};

pub(super) const TEXT_CONVERTER: Registered = Registered {
    class: "converters.TextFileConverter",
    name: Some("text-file-converter"),
    timeout: TIMEOUT,
    build: |_, _, _| Some(Converting::boxed(TextConverter)),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TextConverter;

impl Converter for TextConverter {
    const JOB: &'static str = "text";

    /// Text is only decoded: a byte becomes at most 3 bytes.
    const MAX_INLINE_BYTES: usize = 1024 * 1024;

    fn convert(&self, file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let text = charset::decode(&file.bytes);
        let content = text.trim();
        if content.is_empty() {
            return Err(NodeError::new("ValueError", format!("there is no text in `{}`", file.name)));
        }
        Ok(vec![Document::new(ids.next(), content.to_owned(), with_path(file.metadata, &file.name))])
    }
}
