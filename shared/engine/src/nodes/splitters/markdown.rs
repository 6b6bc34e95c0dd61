//! `MarkdownHeaderSplitter`: divides Markdown into the texts under each heading. The metadata of a part has the
//! headings
//! above it.

use super::{Registered, Splits, Splitter, Splitting, check_part_count, part_metadata};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) const MARKDOWN_HEADER_SPLITTER: Registered = Registered {
    class: "splitters.MarkdownHeaderSplitter",
    name: Some("MarkdownHeaderSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(MarkdownSplitter::read(fields, ""))),
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MarkdownSplitter {
    /// The prefix of a heading, and the key of its text; the longest prefix first.
    headings: Vec<(String, String)>,
    strips_headings: bool,
    by_line: bool,
}

/// A part: its text, and the headings above it.
type Part = (String, Map<String, Value>);

impl MarkdownSplitter {
    /// Reads the fields, whose names begin with `prefix`.
    pub(super) fn read(fields: Fields<'_>, prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}{name}");
        let default = || (1..=6).map(|level| ("#".repeat(level), format!("h{level}"))).collect();
        let mut headings = headings(fields, &key("headers_to_split_on"))
            .filter(|given| !given.is_empty())
            .unwrap_or_else(default);
        headings.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.chars().count()));
        Self {
            headings,
            strips_headings: fields.bool(&key("strip_headers")).unwrap_or(true),
            by_line: fields.bool(&key("return_each_line")).unwrap_or(false),
        }
    }

    fn parts(&self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut active = Map::new();
        let mut open: Vec<(usize, &str)> = Vec::new();
        let mut lines: Vec<&str> = Vec::new();
        let mut fence = None;
        for line in text.split('\n') {
            let stripped = line.trim();
            let is_code = if let Some(opening) = fence {
                fence = (!closes(stripped, opening)).then_some(opening);
                true
            } else {
                fence = opening_fence(stripped);
                fence.is_some()
            };
            let heading = if is_code { None } else { self.heading(stripped) };
            let Some((level, key, title)) = heading else {
                if self.by_line && !stripped.is_empty() {
                    parts.push((line.to_owned(), active.clone()));
                } else {
                    lines.push(line);
                }
                continue;
            };
            flush(&mut lines, &active, &mut parts);
            while let Some((_, above)) = open.pop_if(|(above, _)| *above >= level) {
                active.shift_remove(above);
            }
            open.push((level, key));
            active.insert(key.to_owned(), title.into());
            if !self.strips_headings {
                lines.push(line);
            }
        }
        flush(&mut lines, &active, &mut parts);
        parts
    }

    /// The level, key and text of a heading.
    fn heading<'h>(&'h self, line: &'h str) -> Option<(usize, &'h str, &'h str)> {
        self.headings.iter().find_map(|(prefix, key)| {
            let rest = line.strip_prefix(prefix.as_str())?;
            (rest.is_empty() || rest.starts_with(' '))
                .then(|| (prefix.chars().count(), key.as_str(), rest.trim()))
        })
    }
}

fn flush(lines: &mut Vec<&str>, active: &Map<String, Value>, parts: &mut Vec<Part>) {
    let full: Vec<&str> = lines.drain(..).filter(|line| !line.is_empty()).collect();
    let text = full.join("\n");
    if !text.trim().is_empty() {
        parts.push((text, active.clone()));
    }
}

/// The fence that opens a block of code: its character and length.
fn opening_fence(line: &str) -> Option<(char, usize)> {
    let mark = line.chars().next().filter(|first| matches!(first, '`' | '~'))?;
    let rest = line.trim_start_matches(mark);
    let length = line.len() - rest.len();
    (length >= 3 && !(mark == '`' && rest.contains('`'))).then_some((mark, length))
}

fn closes(line: &str, (mark, length): (char, usize)) -> bool {
    let rest = line.trim_start_matches(mark);
    line.len() - rest.len() >= length && rest.trim().is_empty()
}

/// Reads pairs of the prefix of a heading and the key of its text.
pub(super) fn headings(fields: Fields<'_>, key: &str) -> Option<Vec<(String, String)>> {
    let pairs = fields.list(key)?;
    let mut headings = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let json = pair.to_json();
        match json.as_array().map(Vec::as_slice) {
            Some([Value::String(prefix), Value::String(key)]) => headings.push((prefix.clone(), key.clone())),
            _ => fields.mistake(
                pair.spot,
                format!("`{key}` must be a list of pairs of texts, but this is {}", pair.kind()),
            ),
        }
    }
    Some(headings)
}

impl Splits for MarkdownSplitter {
    const JOB: &'static str = "split_markdown";
}

impl Splitter for MarkdownSplitter {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let parts = self.parts(&document.content);
        check_part_count(parts.len())?;
        Ok(documents(document, parts, ids))
    }
}

/// Makes documents of parts; the headings above a part become metadata.
pub(super) fn documents(document: &Document, parts: Vec<Part>, ids: &DocumentIds) -> Vec<Document> {
    let metadata = part_metadata(document);
    let part = |(text, headings): Part| {
        let mut metadata = metadata.clone();
        metadata.extend(headings);
        Document::new(ids.next(), text, metadata)
    };
    parts.into_iter().map(part).collect()
}
