//! Chunks: parts of a text of limited size, which several splitters make.

use super::{check_part_count, part_metadata};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
    pattern::Pattern,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, sync::Arc};

/// The settings of chunks. Sizes are in characters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings of workflow files")]
pub(super) struct Chunking {
    pub(super) size: usize,
    overlap: usize,
    keep_separator: bool,
    strip: bool,
    start_index: bool,
    chunk_index: bool,
    merge: bool,
    /// Size and overlap of the larger parent chunks, which are returned as well and which the smaller ones refer to.
    parent: Option<(usize, usize)>,
    /// Whether ids are hashes of the content.
    hashed_ids: bool,
}

/// A separator at which a text is divided.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "SerializedSeparator", into = "SerializedSeparator")]
pub(super) struct Separator {
    text: String,
    is_regex: bool,
    /// `None` for the empty separator, which is between any two characters.
    pattern: Option<Arc<Pattern>>,
}

/// A separator as it is serialized, without its compiled pattern.
#[derive(Serialize, Deserialize)]
struct SerializedSeparator {
    text: String,
    is_regex: bool,
}

impl From<Separator> for SerializedSeparator {
    fn from(Separator { text, is_regex, .. }: Separator) -> Self {
        Self { text, is_regex }
    }
}

impl TryFrom<SerializedSeparator> for Separator {
    type Error = String;

    fn try_from(SerializedSeparator { text, is_regex }: SerializedSeparator) -> Result<Self, String> {
        Self::new(text, is_regex)
    }
}

impl Separator {
    /// The error says why the text is not a valid regular expression.
    pub(super) fn new(text: String, is_regex: bool) -> Result<Self, String> {
        let pattern = match text.as_str() {
            "" => None,
            _ if is_regex => Some(Arc::new(Pattern::python(&text)?)),
            _ => Some(Arc::new(Pattern::literal(&text, false)?)),
        };
        Ok(Self { text, is_regex, pattern })
    }

    fn is_in(&self, text: &str) -> Result<bool, NodeError> {
        self.pattern.as_ref().map_or(Ok(true), |pattern| pattern.is_match(text))
    }

    /// The pieces between the separators. If separators are kept, each begins the next piece.
    fn split<'t>(&self, text: &'t str, keep: bool) -> Result<Vec<&'t str>, NodeError> {
        let Some(pattern) = &self.pattern else { return Ok(vec![text]) };
        let (mut pieces, mut start) = (Vec::new(), 0);
        for found in pattern.find_iter(text) {
            let found = found?;
            pieces.push(&text[start..found.start]);
            start = if keep { found.start } else { found.end };
        }
        pieces.push(&text[start..]);
        pieces.retain(|piece| !piece.is_empty());
        Ok(pieces)
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

impl Chunking {
    /// Reads the settings; `keep_separator` is the default of that field.
    pub(super) fn read(fields: Fields<'_>, keep_separator: bool) -> Self {
        let count = |key: &str, default: u32| fields.count(key).unwrap_or(default) as usize;
        let flag = |key: &str, default: bool| fields.bool(key).unwrap_or(default);
        let (size, overlap) = (count("chunk_size", 4000), count("chunk_overlap", 200));
        if overlap >= size {
            let spot = fields.spot("chunk_overlap");
            fields.mistake(
                spot,
                format!("`chunk_overlap` is {overlap}, but must be less than `chunk_size`, {size}"),
            );
        }
        if fields.choice("length_unit", &[("chars", false), ("tokens", true)]) == Some(true) {
            let problem = "`length_unit`: lengths in tokens are not supported: use `chars`";
            fields.mistake(fields.spot("length_unit"), problem.into());
        }
        let parent_size = count("parent_chunk_size", 0);
        if parent_size > 0 && parent_size < size {
            let problem = "`parent_chunk_size` cannot be less than `chunk_size`";
            fields.mistake(fields.spot("parent_chunk_size"), problem.into());
        }
        let parent_overlap = fields.count("parent_chunk_overlap").map_or(overlap, |overlap| overlap as usize);
        if parent_size > 0 && parent_overlap >= parent_size {
            let problem = "`parent_chunk_overlap` must be less than `parent_chunk_size`";
            fields.mistake(fields.spot("parent_chunk_overlap"), problem.into());
        }
        Self {
            size,
            overlap,
            keep_separator: flag("keep_separator", keep_separator),
            strip: flag("strip_whitespace", true),
            start_index: flag("add_start_index", true),
            chunk_index: flag("add_chunk_index", true),
            merge: flag("merge_short_chunks", true),
            parent: (parent_size > 0).then_some((parent_size, parent_overlap)),
            hashed_ids: fields
                .choice("id_strategy", &[("uuid", false), ("deterministic", true)])
                .unwrap_or(false),
        }
    }

    /// The same settings, with separators kept.
    pub(super) fn keeping_separators(&self) -> Self {
        Self { keep_separator: true, ..self.clone() }
    }

    /// Divides a document at the first separator that it contains, and pieces that are too long at the next.
    pub(super) fn split(
        &self,
        document: &Document,
        separators: &[Separator],
        ids: &DocumentIds,
    ) -> Result<Vec<Document>, NodeError> {
        let chunks = self.documents(document, separators, &part_metadata(document), ids)?;
        let Some((size, overlap)) = self.parent else { return Ok(chunks) };
        let parent =
            Self { size, overlap, start_index: true, chunk_index: false, parent: None, ..self.clone() };
        let mut metadata = Map::new();
        metadata.insert("source_id".into(), document.id.clone().into());
        metadata.insert("is_parent".into(), true.into());
        let mut all = parent.documents(document, separators, &metadata, ids)?;
        let spans: Vec<(u64, u64, Option<String>)> = all
            .iter()
            .map(|parent| {
                let start = start_of(parent).unwrap_or(0);
                (start, start + length(&parent.content) as u64, parent.id.clone())
            })
            .collect();
        for mut chunk in chunks {
            let start = start_of(&chunk);
            let owner = spans.iter().find(|(from, to, _)| start.is_some_and(|at| (*from..*to).contains(&at)));
            if let (Some((.., id)), Some(metadata)) = (owner, &mut chunk.metadata) {
                metadata.insert("parent_chunk_id".into(), id.clone().into());
            }
            all.push(chunk);
        }
        Ok(all)
    }

    fn documents(
        &self,
        source: &Document,
        separators: &[Separator],
        metadata: &Map<String, Value>,
        ids: &DocumentIds,
    ) -> Result<Vec<Document>, NodeError> {
        let mut chunks = Vec::new();
        self.divide(&source.content, separators, &mut chunks)?;
        let mut finder = Finder::new(&source.content);
        let mut documents = Vec::with_capacity(chunks.len());
        for (index, chunk) in chunks.into_iter().enumerate().filter(|(_, chunk)| !chunk.is_empty()) {
            let mut metadata = metadata.clone();
            if self.chunk_index {
                metadata.insert("chunk_index".into(), index.into());
            }
            if self.start_index {
                metadata.insert("start_index".into(), finder.next(&chunk).into());
            }
            let id = if self.hashed_ids { hashed_id(source, index, &chunk) } else { ids.next() };
            documents.push(Document::new(id, chunk, metadata));
        }
        Ok(documents)
    }

    fn divide(
        &self,
        text: &str,
        separators: &[Separator],
        chunks: &mut Vec<String>,
    ) -> Result<(), NodeError> {
        let Some(last) = separators.last() else { return Ok(()) };
        let (mut separator, mut rest) = (last, &[][..]);
        for (index, candidate) in separators.iter().enumerate() {
            if candidate.is_in(text)? {
                separator = candidate;
                rest = if candidate.pattern.is_some() { &separators[index + 1..] } else { &[] };
                break;
            }
        }
        if separator.pattern.is_none() {
            return self.divide_anywhere(text, chunks);
        }
        let joiner = if self.keep_separator { "" } else { separator.text.as_str() };
        let mut small = Vec::new();
        for piece in separator.split(text, self.keep_separator)? {
            if length(piece) < self.size {
                small.push(piece);
                continue;
            }
            self.join(&std::mem::take(&mut small), joiner, chunks)?;
            if rest.is_empty() {
                chunks.push(piece.to_owned());
            } else {
                self.divide(piece, rest, chunks)?;
            }
        }
        self.join(&small, joiner, chunks)
    }

    /// Joins neighboring pieces up to the size. The end of a chunk is repeated at the start of the next, up to the
    /// overlap.
    fn join(&self, pieces: &[&str], joiner: &str, chunks: &mut Vec<String>) -> Result<(), NodeError> {
        if !self.merge {
            chunks.extend(pieces.iter().filter_map(|piece| self.chunk((*piece).to_owned())));
            return check_part_count(chunks.len());
        }
        let lengths: Vec<usize> = pieces.iter().map(|piece| length(piece)).collect();
        let gap = length(joiner);
        // The pieces from `start` on have the length `total`.
        let (mut start, mut total) = (0, 0);
        for (index, added) in lengths.iter().copied().enumerate() {
            let joiner_length = |held: usize| if held > 0 { gap } else { 0 };
            if start < index && total + added + joiner_length(index - start) > self.size {
                chunks.extend(self.chunk(pieces[start..index].join(joiner)));
                check_part_count(chunks.len())?;
                while total > self.overlap
                    || (total > 0 && total + added + joiner_length(index - start) > self.size)
                {
                    total -= lengths[start] + joiner_length(index - start - 1);
                    start += 1;
                }
            }
            total += added + joiner_length(index - start);
        }
        chunks.extend(self.chunk(pieces[start..].join(joiner)));
        check_part_count(chunks.len())
    }

    /// The same as [`Chunking::join`] of single characters, without dividing the text into them.
    fn divide_anywhere(&self, text: &str, chunks: &mut Vec<String>) -> Result<(), NodeError> {
        let (size, step) =
            if self.size > 1 && self.merge { (self.size, self.size - self.overlap) } else { (1, 1) };
        let mut rest = text;
        while !rest.is_empty() {
            let byte =
                |characters: usize| rest.char_indices().nth(characters).map_or(rest.len(), |(byte, _)| byte);
            let end = byte(size);
            let piece = rest[..end].to_owned();
            chunks.extend(if self.size > 1 { self.chunk(piece) } else { Some(piece) });
            check_part_count(chunks.len())?;
            if end == rest.len() {
                break;
            }
            rest = &rest[byte(step)..];
        }
        Ok(())
    }

    fn chunk(&self, text: String) -> Option<String> {
        let text = if self.strip { text.trim().to_owned() } else { text };
        (!text.is_empty()).then_some(text)
    }
}

fn start_of(chunk: &Document) -> Option<u64> {
    chunk.metadata.as_ref()?.get("start_index")?.as_u64()
}

/// The first half of a SHA-256 hash of the source's id, the index and the content, in hexadecimal.
fn hashed_id(source: &Document, index: usize, chunk: &str) -> String {
    let id = source.id.as_deref().unwrap_or("None");
    let digest = Sha256::digest(format!("{id}:{index}:{chunk}"));
    digest.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Finds the start of each chunk in the source, in characters, after the start of the last one.
pub(super) struct Finder<'t> {
    source: &'t str,
    /// Where the search for the next chunk starts.
    from: Position,
}

#[derive(Clone, Copy, Default)]
struct Position {
    byte: usize,
    character: usize,
}

impl<'t> Finder<'t> {
    pub(super) fn new(source: &'t str) -> Self {
        Self { source, from: Position::default() }
    }

    /// Returns the start of the chunk; if the source does not contain it, the start of the search.
    pub(super) fn next(&mut self, chunk: &str) -> usize {
        let after = self.source[self.from.byte..].find(chunk).map(|at| self.from.byte + at);
        let found = match after.or_else(|| self.source.find(chunk)) {
            Some(byte) if byte >= self.from.byte => {
                let gap = length(&self.source[self.from.byte..byte]);
                Position { byte, character: self.from.character + gap }
            }
            Some(byte) => return length(&self.source[..byte]),
            None => self.from,
        };
        let step = self.source[found.byte..].chars().next().map_or(0, char::len_utf8);
        self.from = Position { byte: found.byte + step, character: found.character + usize::from(step > 0) };
        found.character
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MAX_PARTS, *};

    fn chunking(size: usize, overlap: usize) -> Chunking {
        Chunking {
            size,
            overlap,
            keep_separator: false,
            strip: true,
            start_index: true,
            chunk_index: true,
            merge: true,
            parent: None,
            hashed_ids: false,
        }
    }

    fn separators(texts: &[&str]) -> Vec<Separator> {
        texts.iter().map(|text| Separator::new((*text).to_owned(), false).expect("a separator")).collect()
    }

    #[test]
    fn windows_of_characters_equal_joined_characters() {
        for (size, overlap, text) in
            [(4, 1, "abcdefghij"), (5, 4, "äöüß€x yz"), (3, 0, "abcdef"), (2, 1, "a")]
        {
            let chunking = chunking(size, overlap);
            let (mut windows, mut joined) = (Vec::new(), Vec::new());
            chunking.divide_anywhere(text, &mut windows).expect("few");
            let characters: Vec<String> = text.chars().map(String::from).collect();
            let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
            chunking.join(&characters, "", &mut joined).expect("few");
            assert_eq!(windows, joined, "{text}");
        }
    }

    #[test]
    fn an_id_may_be_a_hash_of_the_content() {
        // The first 32 digits of sha256("doc:3:text").
        let source = Document { id: Some("doc".into()), ..Document::default() };
        assert_eq!(hashed_id(&source, 3, "text"), "c6afbd4a94c135e01f39c3dffdf10671");
    }

    #[test]
    fn refuses_a_text_of_too_many_parts() {
        let text = "x ".repeat(MAX_PARTS + 1);
        let refused = chunking(2, 0).divide(&text, &separators(&[" "]), &mut Vec::new());
        assert_eq!(refused.expect_err("too many").kind, crate::flow::LIMIT_EXCEEDED);
    }

    #[test]
    fn finds_chunks_in_characters() {
        let mut finder = Finder::new("äb äb x");
        assert_eq!(["äb", "äb", "?", "x"].map(|chunk| finder.next(chunk)), [0, 3, 4, 6]);
    }
}
