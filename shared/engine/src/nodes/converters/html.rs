//! `HTMLConverter`: converts each HTML file to a Markdown document.

use super::{Converter, Converting, InputFile, Registered, TIMEOUT};
use crate::{
    charset,
    document::{Document, DocumentIds},
    flow::NodeError,
    html::{Tree, markdown},
};
use serde::{Deserialize, Serialize};

pub(super) const HTML_CONVERTER: Registered = Registered {
    class: "converters.HTMLConverter",
    name: Some("html-file-converter"),
    timeout: TIMEOUT,
    build: |_, _, _| Some(Converting::boxed(HtmlConverter)),
};

/// Byte order marks of encodings whose text has null bytes.
const WIDE_ENCODING_MARKS: &[&[u8]] = &[b"\xff\xfe", b"\xfe\xff"];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HtmlConverter;

impl Converter for HtmlConverter {
    const JOB: &'static str = "html";

    /// Unclosed formatting elements are repeated in each paragraph: 4 KiB result in fewer than 100,000 elements.
    const MAX_INLINE_BYTES: usize = 4 * 1024;

    fn convert(&self, mut file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        if file.bytes.contains(&0) && !WIDE_ENCODING_MARKS.iter().any(|mark| file.bytes.starts_with(mark)) {
            return Err(NodeError::new("ValueError", format!("`{}` is not HTML", file.name)));
        }
        let html = charset::decode_markup(&file.bytes);
        if html.trim().is_empty() {
            return Err(NodeError::new("ParserError", format!("`{}` is empty", file.name)));
        }
        let tree = Tree::parse(&html)
            .map_err(|problem| NodeError::limit_exceeded(format!("`{}`: {problem}", file.name)))?;
        file.metadata.insert("file_path".into(), file.name.into());
        Ok(vec![Document::new(ids.next(), markdown(&html, &tree), file.metadata)])
    }
}
