//! HTML as browsers read it, whatever its faults.

mod markdown;
mod text;
mod tree;

pub(crate) use markdown::markdown;
pub(crate) use text::text;
pub(crate) use tree::{NodeId, NodeKind, Tree};

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use std::borrow::Cow;

/// How far into a file its charset may be declared, in bytes.
const DECLARATION: usize = 1024;

/// The text of an HTML file: as its byte order mark says, as UTF-8 if it is that, else as it declares itself.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let encoding = match Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding,
        None if std::str::from_utf8(bytes).is_ok() => UTF_8,
        None => declared(bytes).unwrap_or(WINDOWS_1252),
    };
    encoding.decode(bytes).0
}

fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION)]).to_ascii_lowercase();
    let (_, rest) = start.split_once("charset=").or_else(|| start.split_once("encoding="))?;
    let label = rest.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(['"', '\'', ' ', ';', '>', '/', '?']).unwrap_or(label.len());
    Encoding::for_label(label[..end].as_bytes())
}
