//! Decodes bytes whose encoding is not declared.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use std::borrow::Cow;

/// The first bytes of a markup file, in which it may declare its charset.
const DECLARATION_BYTES: usize = 1024;

/// Decodes by the byte order mark; else as UTF-8 if it is valid; else as Western European text (Windows-1252).
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    known(bytes).unwrap_or(WINDOWS_1252).decode(bytes).0
}

/// Decodes markup, which may also declare its charset.
pub(crate) fn decode_markup(bytes: &[u8]) -> Cow<'_, str> {
    known(bytes).or_else(|| declared(bytes)).unwrap_or(WINDOWS_1252).decode(bytes).0
}

fn known(bytes: &[u8]) -> Option<&'static Encoding> {
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    marked.or_else(|| std::str::from_utf8(bytes).is_ok().then_some(UTF_8))
}

fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION_BYTES)]).to_ascii_lowercase();
    let (_, rest) = start.split_once("charset=").or_else(|| start.split_once("encoding="))?;
    let label = rest.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(['"', '\'', ' ', ';', '>', '/', '?']).unwrap_or(label.len());
    Encoding::for_label(&label.as_bytes()[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_by_mark_then_as_utf_8_then_by_declaration() {
        assert_eq!(decode("\u{feff}ü".as_bytes()), "ü");
        assert_eq!(decode(b"\xff\xfea\0"), "a");
        assert_eq!(decode("ü".as_bytes()), "ü");
        assert_eq!(decode(b"\xfc \x80"), "ü €");
        assert_eq!(decode_markup(b"<meta charset=\"koi8-r\"><p>\xc1"), "<meta charset=\"koi8-r\"><p>а");
    }
}
