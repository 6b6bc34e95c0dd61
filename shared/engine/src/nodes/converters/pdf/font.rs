//! Fonts: decode the bytes of a text into letters, and measure their width.

use super::MAX_UNPACKED_BYTES;
use lopdf::{Dictionary, Document, Encoding, Object};

/// The width of a letter if the font does not define it, as a fraction of the font's size.
const DEFAULT_WIDTH: f32 = 0.5;

/// The parts of a font that text extraction needs.
pub(super) struct Font<'p> {
    encoding: Option<Encoding<'p>>,
    /// The code of the first width, and the widths in thousandths of the font's size.
    widths: Option<(usize, Vec<f32>)>,
    /// The number of bytes of a letter.
    bytes: usize,
}

impl<'p> Font<'p> {
    pub(super) fn new(pdf: &'p Document, font: &'p Dictionary) -> Self {
        let is_composite = font.get(b"Subtype").and_then(Object::as_name).is_ok_and(|name| name == b"Type0");
        let first = font.get_deref(b"FirstChar", pdf).and_then(Object::as_i64).ok();
        let widths = font.get_deref(b"Widths", pdf).and_then(Object::as_array).ok();
        let widths = widths.map(|widths| {
            let number = |width: &Object| pdf.dereference(width).ok()?.1.as_float().ok();
            widths.iter().map(|width| number(width).unwrap_or(0.0)).collect()
        });
        Self {
            encoding: to_unicode(pdf, font)
                .or_else(|| font.get_font_encoding_with_limit(pdf, MAX_UNPACKED_BYTES).ok()),
            widths: first.and_then(|first| usize::try_from(first).ok()).zip(widths),
            bytes: if is_composite { 2 } else { 1 },
        }
    }

    pub(super) fn text(&self, bytes: &[u8]) -> String {
        let decoded = self.encoding.as_ref().and_then(|encoding| Document::decode_text(encoding, bytes).ok());
        decoded.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned()).replace('\0', "")
    }

    /// Returns the width, as a fraction of the font's size, and the number of letters.
    pub(super) fn width(&self, bytes: &[u8]) -> (f32, f32) {
        let width = |code: &[u8]| match (&self.widths, code) {
            (Some((first, widths)), [code]) => usize::from(*code)
                .checked_sub(*first)
                .and_then(|index| widths.get(index))
                .map_or(DEFAULT_WIDTH, |width| width / 1000.0),
            _ => DEFAULT_WIDTH,
        };
        bytes
            .chunks(self.bytes)
            .fold((0.0, 0.0), |(total, letters), code| (total + width(code), letters + 1.0))
    }
}

/// The font's table of Unicode letters, which is meant for text extraction. Its encoding, which selects glyphs, is only
/// used without that table.
fn to_unicode<'p>(pdf: &Document, font: &Dictionary) -> Option<Encoding<'p>> {
    font.get(b"ToUnicode").ok()?;
    let mut table = font.clone();
    table.remove(b"Encoding");
    match table.get_font_encoding_with_limit(pdf, MAX_UNPACKED_BYTES) {
        Ok(Encoding::UnicodeMapEncoding(map)) => Some(Encoding::UnicodeMapEncoding(map)),
        _ => None,
    }
}
