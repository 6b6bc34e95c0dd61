//! `RecursiveCharacterSplitter`: divides text into chunks at the largest separators that it contains.

use super::{
    Registered, Splits, Splitter, Splitting,
    chunks::{Chunking, Separator},
    language,
};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::{Fields, meant},
};
use serde::{Deserialize, Serialize};

pub(super) const RECURSIVE_CHARACTER_SPLITTER: Registered = Registered {
    class: "splitters.RecursiveCharacterSplitter",
    name: Some("RecursiveCharacterSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(RecursiveSplitter::read(fields)?)),
};

/// The default separators: of paragraphs, lines, words and characters.
const SEPARATORS: &[&str] = &["\n\n", "\n", " ", ""];

/// Divides at a separator, and pieces that are too long at the next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecursiveSplitter {
    pub(super) chunking: Chunking,
    pub(super) separators: Vec<Separator>,
    /// Whether the separators are regular expressions of the workflow file.
    pub(super) has_patterns: bool,
}

impl RecursiveSplitter {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let chunking = Chunking::read(fields, false);
        let separators = match fields.text("language") {
            Some(name) => of_language(fields, "language", name)?,
            None => custom_separators(fields)?,
        };
        let has_patterns = fields.bool("is_separator_regex").unwrap_or(false);
        Some(Self { chunking, separators, has_patterns })
    }

    /// A splitter with the default separators.
    pub(super) fn of_text(chunking: Chunking) -> Self {
        let separators = SEPARATORS.iter().filter_map(|text| Separator::new((*text).to_owned(), false).ok());
        Self { chunking, separators: separators.collect(), has_patterns: false }
    }
}

/// The separators that the workflow file names, or the default ones.
fn custom_separators(fields: Fields<'_>) -> Option<Vec<Separator>> {
    let is_regex = fields.bool("is_separator_regex").unwrap_or(false);
    let Some(list) = fields.list("separators") else {
        return SEPARATORS.iter().map(|text| Separator::new((*text).to_owned(), false).ok()).collect();
    };
    if list.is_empty() {
        fields.mistake(fields.spot("separators"), "`separators` cannot be empty".into());
        return None;
    }
    let separator = |item: &crate::load::Yaml| {
        let Some(text) = item.text() else {
            fields.mistake(item.spot, format!("a separator must be text, but this is {}", item.kind()));
            return None;
        };
        let separator = Separator::new(text.to_owned(), is_regex);
        separator.map_err(|problem| fields.mistake(item.spot, problem)).ok()
    };
    list.iter().map(separator).collect()
}

/// The separators of the language that `key` names.
pub(super) fn of_language(fields: Fields<'_>, key: &str, name: &str) -> Option<Vec<Separator>> {
    let found = separators_of(name);
    if found.is_none() {
        let known: Vec<&str> = language::names().collect();
        let problem = format!("`{name}` is not a supported language{}", meant(name, &known));
        fields.mistake(fields.spot(key), problem);
    }
    found
}

pub(super) fn separators_of(language: &str) -> Option<Vec<Separator>> {
    language::separators(language)?.into_iter().map(|text| Separator::new(text, true).ok()).collect()
}

impl Splits for RecursiveSplitter {
    const JOB: &'static str = "split_text";
}

impl Splitter for RecursiveSplitter {
    fn has_patterns(&self) -> bool {
        self.has_patterns
    }

    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        self.chunking.split(document, &self.separators, ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_separators() {
        assert_eq!(language::names().count(), 27);
        for name in language::names() {
            assert!(separators_of(name).is_some(), "{name}");
        }
    }
}
