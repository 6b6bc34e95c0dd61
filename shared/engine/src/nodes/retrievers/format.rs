//! Formats documents as text, for a model or a person.

use crate::{document::Document, python_json, python_text};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The default fields of the metadata that an agent sees.
pub(super) const MAIN_FIELDS: &[&str] = &["score", "title", "source_url", "url", "source"];
/// Names of fields that hold vectors, and words in the names of other fields to omit.
const VECTOR_FIELDS: &[&str] = &["embedding", "embeddings", "vector", "vectors"];
const OMITTED_WORDS: &[&str] = &["id", "hash"];
/// Words in the names of fields that name a document's source. Such fields come first.
const SOURCE_WORDS: &[&str] = &["url", "link", "source", "file", "title"];
/// The prefix of the reference platform's fields and values, which is omitted.
const PLATFORM_PREFIX: &str = "dynamiq";

/// What the text shows of documents.
#[derive(Debug)]
pub(super) struct Format {
    /// Fields of the metadata, and `score`; `None` for all.
    pub(super) fields: Option<Vec<String>>,
    /// Whether to omit fields that are null or empty.
    pub(super) skip_empty: bool,
}

/// A value of the metadata, and the path of keys to it.
struct Line<'m> {
    path: Vec<&'m str>,
    value: &'m Value,
}

impl Format {
    /// The text of all documents, each with its metadata.
    pub(super) fn text(&self, documents: &[Document]) -> String {
        let texts: Vec<String> = documents
            .iter()
            .enumerate()
            .map(|(index, document)| self.document_text(index + 1, document))
            .collect();
        texts.join("\n\n")
    }

    fn document_text(&self, number: usize, document: &Document) -> String {
        let mut metadata = String::new();
        let shows_score = self
            .fields
            .as_ref()
            .is_none_or(|fields| fields.iter().any(|field| field.trim().eq_ignore_ascii_case("score")));
        if let Some(score) = document.score.filter(|_| shows_score) {
            let rounded = Value::from((score * 1000.0).round_ties_even() / 1000.0);
            let _ = writeln!(metadata, "Score: {}", python_text::str(&rounded));
        }
        let mut lines = Vec::new();
        if let Some(map) = &document.metadata {
            self.collect(map, &mut lines);
        }
        // A stable sort: within each half, the order of the metadata is kept.
        lines.sort_by_key(|line| !line.path.iter().any(|key| has_word(key, SOURCE_WORDS)));
        for line in lines {
            let label: Vec<String> = line.path.iter().map(|key| label(key)).collect();
            let _ = writeln!(metadata, "{}: {}", label.join(" - "), value_text(line.value));
        }
        if metadata.is_empty() {
            metadata.push_str("No metadata available.\n");
        }
        let content = document.content.trim();
        format!(
            "--- Retrieved Source {number} ---\nMetadata:\n{metadata}\nContent:\n{content}\n--- End Source {number} ---"
        )
    }

    fn collect<'m>(&self, metadata: &'m Map<String, Value>, lines: &mut Vec<Line<'m>>) {
        let Some(fields) = &self.fields else {
            for (key, value) in metadata {
                self.flatten(vec![key], value, lines);
            }
            return;
        };
        let mut seen: Vec<String> = Vec::new();
        for field in fields.iter().map(|field| field.trim()) {
            let lower = field.to_lowercase();
            if field.is_empty() || lower == "score" || seen.contains(&lower) {
                continue;
            }
            seen.push(lower);
            if let Some(Line { path, value }) = find(metadata, field)
                && !path.iter().any(|key| is_omitted(key))
            {
                self.flatten(path, value, lines);
            }
        }
    }

    fn flatten<'m>(&self, path: Vec<&'m str>, value: &'m Value, lines: &mut Vec<Line<'m>>) {
        if path.last().is_some_and(|key| is_omitted(key)) {
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let mut path = path.clone();
                    path.push(key);
                    self.flatten(path, value, lines);
                }
            }
            value if self.skip_empty && is_empty(value) => {}
            value => lines.push(Line { path, value }),
        }
    }
}

/// The value at a dotted path, ignoring case.
fn find<'m>(metadata: &'m Map<String, Value>, field: &str) -> Option<Line<'m>> {
    let mut parts = field.split('.').peekable();
    let (mut map, mut path) = (metadata, Vec::new());
    while let Some(part) = parts.next() {
        let lower = part.to_lowercase();
        let (key, value) = map.iter().find(|(key, _)| key.to_lowercase() == lower)?;
        path.push(key.as_str());
        if parts.peek().is_none() {
            return Some(Line { path, value });
        }
        map = value.as_object()?;
    }
    None
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn is_omitted(key: &str) -> bool {
    VECTOR_FIELDS.contains(&key.to_lowercase().as_str()) || has_word(key, OMITTED_WORDS)
}

fn has_word(key: &str, wanted: &[&str]) -> bool {
    words(key).iter().any(|word| wanted.contains(&word.as_str()))
}

/// The words of a name, in lower case; the same for `sourceUrl`, `source_url` and `source-url`.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for character in key.chars() {
        let begins =
            character.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
        if begins || !character.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if character.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(character.to_ascii_lowercase());
        }
        before = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A label for a key: `Source Url` for `source_url`.
fn label(key: &str) -> String {
    let spaced = key.replace('_', " ");
    let spaced = spaced.trim();
    let without_prefix = if spaced.to_lowercase().starts_with(PLATFORM_PREFIX) {
        spaced[PLATFORM_PREFIX.len()..].trim_start_matches([' ', '-', '_', '/'])
    } else {
        spaced
    };
    let title = title(without_prefix.trim());
    if title.is_empty() { key.to_owned() } else { title }
}

/// Python's `title()`: a capital letter at the start of each run of letters.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut within = false;
    for character in text.chars() {
        if within {
            titled.extend(character.to_lowercase());
        } else {
            titled.extend(character.to_uppercase());
        }
        within = character.is_alphabetic();
    }
    titled
}

fn value_text(value: &Value) -> String {
    let text = match value {
        Value::Array(_) | Value::Object(_) => python_json::sorted(value),
        other => python_text::str(other),
    };
    match text.get(..PLATFORM_PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PLATFORM_PREFIX) => {
            text[PLATFORM_PREFIX.len()..].trim_start_matches(['/', '\\', ' ']).to_owned()
        }
        _ => text,
    }
}
