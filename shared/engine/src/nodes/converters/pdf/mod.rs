//! `PyPDFConverter`: makes a document of each PDF file, or of each page. White space may differ from the reference: a
//! PDF has the positions of letters, but not the ends of words.

mod font;
mod page;

use super::{Converter, Converting, InputFile, Registered, TIMEOUT, check_text_size};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
};
use lopdf::{LoadOptions, Object, decode_text_string};
use page::{Reader, Unreadable};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) const PDF_CONVERTER: Registered = Registered {
    class: "converters.PyPDFConverter",
    name: Some("pypdf-file-converter"),
    timeout: TIMEOUT,
    build: |_, fields, _| Some(Converting::boxed(PdfConverter::read(fields))),
};

/// Limit on what one stream of a file unpacks to, in bytes.
const MAX_UNPACKED_BYTES: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PdfConverter {
    by_page: bool,
}

impl PdfConverter {
    pub(super) fn read(fields: Fields<'_>) -> Self {
        let modes = [("one-doc-per-file", false), ("one-doc-per-page", true)];
        if fields.choice("extraction_mode", &[("plain", false), ("layout", true)]) == Some(true) {
            let problem = "`extraction_mode: layout` is not supported: use `plain`";
            fields.mistake(fields.spot("extraction_mode"), problem.into());
        }
        Self { by_page: fields.choice("document_creation_mode", &modes).unwrap_or(false) }
    }

    pub(super) fn by_file() -> Self {
        Self { by_page: false }
    }
}

impl Converter for PdfConverter {
    const JOB: &'static str = "pdf";

    fn convert(&self, mut file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let pdf = open(&file.bytes).map_err(|problem| {
            NodeError::new("AttributeError", format!("`{}`: {problem}", file.name)).lasting()
        })?;
        file.metadata.insert("file_path".into(), file.name.as_str().into());
        file.metadata.extend(info(&pdf));
        let reader = Reader::new(&pdf);
        let mut documents = Vec::new();
        let mut whole = String::new();
        for (number, page) in pdf.get_pages() {
            let text = reader.text(page).map_err(|problem| {
                let message = format!("page {number} of `{}`: {problem}", file.name);
                match problem {
                    Unreadable::TooMuch => NodeError::limit_exceeded(message),
                    Unreadable::Pdf(_) => NodeError::new("PdfReadError", message).lasting(),
                }
            })?;
            whole.push_str(&text);
            check_text_size(whole.len())?;
            if self.by_page {
                let mut metadata = file.metadata.clone();
                metadata.insert("page_number".into(), number.into());
                documents.push(Document::new(ids.next(), text, metadata));
            }
        }
        if !self.by_page {
            documents.push(Document::new(ids.next(), whole, file.metadata));
        }
        Ok(documents)
    }
}

fn open(bytes: &[u8]) -> Result<lopdf::Document, String> {
    let options = LoadOptions { max_decompressed_size: Some(MAX_UNPACKED_BYTES), ..LoadOptions::default() };
    let mut pdf =
        lopdf::Document::load_mem_with_options(bytes, options).map_err(|error| error.to_string())?;
    if pdf.is_encrypted() {
        pdf.decrypt("").map_err(|error| format!("it is encrypted: {error}"))?;
    }
    Ok(pdf)
}

/// The information that the file has about itself, with keys such as `pdf_creation_date`.
fn info(pdf: &lopdf::Document) -> Map<String, Value> {
    let mut metadata = Map::new();
    let info = pdf.trailer.get_deref(b"Info", pdf).and_then(Object::as_dict);
    for (key, value) in info.into_iter().flat_map(lopdf::Dictionary::iter) {
        let Ok((_, value)) = pdf.dereference(value) else { continue };
        let text = match value {
            Object::Name(name) => format!("/{}", String::from_utf8_lossy(name)),
            other => match decode_text_string(other) {
                Ok(text) => text,
                Err(_) => continue,
            },
        };
        let key = format!("pdf_{}", snake_case(&String::from_utf8_lossy(key)));
        let mut unique = key.clone();
        let mut suffix = 2;
        while metadata.contains_key(&unique) {
            unique = format!("{key}_{suffix}");
            suffix += 1;
        }
        metadata.insert(unique, text.into());
    }
    metadata
}

/// Converts a key: to `creation_date` for `CreationDate`, and to `pdf_version` for `PDFVersion`.
fn snake_case(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    let mut snake = String::new();
    for (index, letter) in letters.iter().copied().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            snake.push(' ');
            continue;
        }
        let before = index.checked_sub(1).map(|index| letters[index]);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                let next_is_small = letters.get(index + 1).is_some_and(char::is_ascii_lowercase);
                before.is_ascii_lowercase() || before.is_ascii_digit() || next_is_small
            });
        if begins {
            snake.push(' ');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    let words: Vec<&str> = snake.split_whitespace().collect();
    if words.is_empty() { "metadata".into() } else { words.join("_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_keys_to_snake_case() {
        for (key, snake) in [
            ("CreationDate", "creation_date"),
            ("PTEX.Fullbanner", "ptex_fullbanner"),
            ("PDFVersion", "pdf_version"),
            ("Title", "title"),
            ("**", "metadata"),
        ] {
            assert_eq!(snake_case(key), snake);
        }
    }
}
