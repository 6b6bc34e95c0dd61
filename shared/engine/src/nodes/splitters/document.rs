//! `DocumentSplitter`: divides documents into parts of a number of words, sentences, passages, pages, titles or
//! characters.

use super::{MAX_PARTS, Registered, Splits, Splitter, Splitting, check_part_count, part_metadata};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
};
use serde::{Deserialize, Serialize};

pub(super) const DOCUMENT_SPLITTER: Registered = Registered {
    class: "splitters.DocumentSplitter",
    name: Some("DocumentSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(DocumentSplitter::read(fields))),
};

/// The unit of a part's length.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Unit {
    Character,
    Page,
    Passage,
    Sentence,
    Title,
    Word,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DocumentSplitter {
    unit: Unit,
    length: usize,
    overlap: usize,
}

impl DocumentSplitter {
    fn read(fields: Fields<'_>) -> Self {
        let units = [
            ("character", Unit::Character),
            ("page", Unit::Page),
            ("passage", Unit::Passage),
            ("sentence", Unit::Sentence),
            ("title", Unit::Title),
            ("word", Unit::Word),
        ];
        let unit = fields.choice("split_by", &units).unwrap_or(Unit::Passage);
        let length = fields.count("split_length").unwrap_or(10) as usize;
        if length == 0 {
            fields.mistake(fields.spot("split_length"), "`split_length` must be at least 1".into());
        }
        Self { unit, length, overlap: fields.count("split_overlap").unwrap_or(0) as usize }
    }

    /// The byte offsets of the starts of the units, and of the end of the last.
    fn bounds(&self, text: &str) -> Vec<usize> {
        let mut bounds = vec![0];
        let end = match self.unit {
            Unit::Character => {
                bounds.extend(text.char_indices().map(|(offset, _)| offset).skip(1));
                None
            }
            Unit::Title => {
                bounds.extend(text.match_indices("\n#").map(|(offset, _)| offset));
                None
            }
            Unit::Page => Some("\u{c}"),
            Unit::Passage => Some("\n\n"),
            Unit::Sentence => Some("."),
            Unit::Word => Some(" "),
        };
        if let Some(end) = end {
            bounds.extend(text.match_indices(end).map(|(offset, _)| offset + end.len()));
        }
        bounds.push(text.len());
        bounds
    }

    fn parts<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, NodeError> {
        let step = self.length.saturating_sub(self.overlap);
        if step == 0 {
            let problem = "`split_overlap` must be less than `split_length`";
            return Err(NodeError::new("ValueError", problem));
        }
        let bounds = self.bounds(text);
        let units = bounds.len() - 1;
        let mut parts = Vec::new();
        for start in (0..units).step_by(step) {
            let end = units.min(start + self.length);
            if bounds[start] < bounds[end] {
                parts.push(&text[bounds[start]..bounds[end]]);
            }
            if end == units || parts.len() > MAX_PARTS {
                break;
            }
        }
        check_part_count(parts.len())?;
        Ok(parts)
    }
}

impl Splitter for DocumentSplitter {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let metadata = part_metadata(document);
        let parts = self.parts(&document.content)?.into_iter();
        Ok(parts.map(|part| Document::new(ids.next(), part.to_owned(), metadata.clone())).collect())
    }

    fn fills_metadata(&self) -> bool {
        true
    }
}

impl Splits for DocumentSplitter {
    const JOB: &'static str = "split_document";
}
