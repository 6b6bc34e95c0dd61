//! `AutoSplitter`: selects a splitter for each document by its metadata or content.

use super::{
    Registered, Splits, Splitter, Splitting,
    chunks::Chunking,
    html::HtmlSplitter,
    json::JsonSplitter,
    language,
    markdown::MarkdownSplitter,
    recursive::{RecursiveSplitter, of_language, separators_of},
};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
    python_text,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

pub(super) const AUTO_SPLITTER: Registered = Registered {
    class: "splitters.AutoSplitter",
    name: Some("AutoSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(AutoSplitter::read(fields)?)),
};

/// Which splitter divides a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Strategy {
    Code,
    HtmlHeader,
    HtmlSection,
    Json,
    Markdown,
    Recursive,
}

const STRATEGIES: &[(&str, Strategy)] = &[
    ("code", Strategy::Code),
    ("html_header", Strategy::HtmlHeader),
    ("html_section", Strategy::HtmlSection),
    ("json", Strategy::Json),
    ("markdown_header", Strategy::Markdown),
    ("recursive_character", Strategy::Recursive),
];

/// Other names for strategies in metadata.
const ALIASES: &[(&str, Strategy)] = &[
    ("codesplitter", Strategy::Code),
    ("html", Strategy::HtmlSection),
    ("htmlheadersplitter", Strategy::HtmlHeader),
    ("htmlsectionsplitter", Strategy::HtmlSection),
    ("markdown", Strategy::Markdown),
    ("markdownheadersplitter", Strategy::Markdown),
    ("recursive", Strategy::Recursive),
    ("recursive_json", Strategy::Json),
    ("recursivecharactersplitter", Strategy::Recursive),
    ("recursivejsonsplitter", Strategy::Json),
];

/// The languages of source files, by extension.
#[rustfmt::skip]
const LANGUAGES: &[(&str, &str)] = &[
    ("c", "c"), ("cc", "cpp"), ("cpp", "cpp"), ("cs", "csharp"), ("go", "go"), ("java", "java"), ("js", "js"),
    ("jsx", "js"), ("kt", "kotlin"), ("kts", "kotlin"), ("lua", "lua"), ("php", "php"), ("proto", "proto"),
    ("py", "python"), ("rb", "ruby"), ("rs", "rust"), ("scala", "scala"), ("sol", "sol"), ("swift", "swift"),
    ("ts", "ts"), ("tsx", "ts"),
];

/// The part of the content that is checked, in characters.
const SAMPLE_CHARACTERS: usize = 4000;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AutoSplitter {
    html: HtmlSplitter,
    json: JsonSplitter,
    markdown: MarkdownSplitter,
    text: RecursiveSplitter,
    /// By language; built when needed.
    #[serde(skip)]
    code: Mutex<HashMap<String, Arc<RecursiveSplitter>>>,
    language: String,
    rules: Option<Vec<Rule>>,
    fallback: Strategy,
    /// Whether a document that its strategy cannot divide is divided by the fallback.
    falls_back: bool,
    infers: bool,
    /// Whether to divide sections that are too long.
    refines: bool,
    /// The key of the strategy in the metadata of parts; `None` to omit it.
    key: Option<String>,
    /// The deepest level of headings that get a line of their own in Markdown without line breaks; `None` for no
    /// repair.
    repaired_level: Option<usize>,
}

/// A strategy, and the conditions for it, all of which must hold.
#[derive(Debug, Serialize, Deserialize)]
struct Rule {
    strategy: Strategy,
    file_types: Vec<String>,
    extensions: Vec<String>,
    content_types: Vec<String>,
    metadata: Vec<(String, String)>,
}

/// What a document's metadata says about its type.
#[derive(Default)]
struct Features {
    file_type: Option<String>,
    extension: Option<String>,
    content_type: Option<String>,
}

impl AutoSplitter {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let chunking = Chunking::read(fields, false);
        fields.choice("code_parser", &[("regex", ()), ("tree_sitter", ())]);
        let language = fields.text("code_default_language").unwrap_or("python");
        of_language(fields, "code_default_language", language)?;
        let flag = |key: &str| fields.bool(key).unwrap_or(true);
        let key = fields.text("splitter_metadata_key").unwrap_or("splitter_strategy").to_owned();
        let level = fields.count("flattened_markdown_max_heading_level").unwrap_or(4) as usize;
        if !(1..=6).contains(&level) {
            let spot = fields.spot("flattened_markdown_max_heading_level");
            fields.mistake(spot, "`flattened_markdown_max_heading_level` must be between 1 and 6".into());
        }
        Some(Self {
            html: HtmlSplitter::read(fields, "html_"),
            json: JsonSplitter::read(fields, "json_"),
            markdown: MarkdownSplitter::read(fields, "markdown_"),
            code: Mutex::default(),
            text: RecursiveSplitter::of_text(chunking),
            language: language.to_owned(),
            rules: fields
                .get("rules")
                .map(|_| fields.items("rules", "a rule").into_iter().filter_map(Rule::read).collect()),
            fallback: fields.choice("fallback_strategy", STRATEGIES).unwrap_or(Strategy::Recursive),
            falls_back: flag("fallback_on_error"),
            infers: flag("infer_from_content"),
            refines: flag("refine_structured_chunks"),
            key: flag("add_splitter_metadata").then_some(key),
            repaired_level: flag("repair_flattened_markdown").then_some(level),
        })
    }

    /// Returns the strategy for a document, and whether its metadata names it.
    fn strategy(&self, document: &Document) -> Result<(Strategy, bool), NodeError> {
        let empty = Map::new();
        let metadata = document.metadata.as_ref().unwrap_or(&empty);
        let named = ["splitter_strategy", "splitter", "document_splitter"];
        if let Some(named) = named.iter().find_map(|key| metadata.get(*key)) {
            let name = token(named).replace(['-', ' '], "_");
            let known = STRATEGIES.iter().chain(ALIASES).find(|(known, _)| *known == name);
            let Some((_, strategy)) = known else {
                let problem =
                    format!("a document's metadata names the splitter `{name}`, which does not exist");
                return Err(NodeError::new("ValueError", problem));
            };
            return Ok((*strategy, true));
        }
        let features = Features::of(metadata);
        let is = |kind: &str| features.content_type.as_deref().is_some_and(|it| it.contains(kind));
        let found = if is("html") {
            Some(Strategy::HtmlSection)
        } else if is("json") {
            Some(Strategy::Json)
        } else if is("markdown") {
            Some(Strategy::Markdown)
        } else {
            None
        };
        if let Some(found) = found {
            return Ok((found, false));
        }
        let by_rules = || self.by_rules(&features, metadata);
        let strategy = match features.file_type.as_deref() {
            Some("html") => Strategy::HtmlSection,
            Some("json") => Strategy::Json,
            Some("markdown") => Strategy::Markdown,
            Some("csv" | "text" | "table" | "table_row") => {
                by_rules().or_else(|| features.by_extension()).unwrap_or(self.fallback)
            }
            _ => {
                let inferred = || if self.infers { self.inferred(&document.content) } else { None };
                features.by_extension().or_else(inferred).or_else(by_rules).unwrap_or(self.fallback)
            }
        };
        Ok((strategy, false))
    }

    fn by_rules(&self, features: &Features, metadata: &Map<String, Value>) -> Option<Strategy> {
        match &self.rules {
            Some(rules) => rules.iter().find(|rule| rule.holds(features, metadata)).map(|rule| rule.strategy),
            // The default rules depend on file type, content type and extension.
            None => features.by_extension(),
        }
    }

    fn inferred(&self, content: &str) -> Option<Strategy> {
        let end = content.char_indices().nth(SAMPLE_CHARACTERS).map_or(content.len(), |(end, _)| end);
        let start = &content[..end];
        if looks_like_html(start) {
            Some(Strategy::HtmlSection)
        } else if start.lines().any(is_heading)
            || (self.repaired_level.is_some() && has_lost_line_breaks(content, start))
        {
            Some(Strategy::Markdown)
        } else if content.trim_start().starts_with(['[', '{'])
            && serde_json::from_str::<serde::de::IgnoredAny>(content).is_ok()
        {
            Some(Strategy::Json)
        } else {
            None
        }
    }

    fn split_by(
        &self,
        strategy: Strategy,
        document: &Document,
        ids: &DocumentIds,
    ) -> Result<Vec<Document>, NodeError> {
        match strategy {
            Strategy::Code => match self.code(&self.language_of(document)) {
                Some(code) => code.split(document, ids),
                None => self.text.split(document, ids),
            },
            Strategy::HtmlHeader | Strategy::HtmlSection => self.html.split(document, ids),
            Strategy::Json => self.json.split(document, ids),
            Strategy::Markdown => self.markdown.split(document, ids),
            Strategy::Recursive => self.text.split(document, ids),
        }
    }

    fn code(&self, language: &str) -> Option<Arc<RecursiveSplitter>> {
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = code.get(language) {
            return Some(Arc::clone(known));
        }
        let splitter = Arc::new(RecursiveSplitter {
            chunking: self.text.chunking.keeping_separators(),
            separators: separators_of(language)?,
            has_patterns: false,
        });
        code.insert(language.to_owned(), Arc::clone(&splitter));
        Some(splitter)
    }

    fn language_of(&self, document: &Document) -> Cow<'_, str> {
        let Some(metadata) = &document.metadata else { return self.language.as_str().into() };
        if let Some(language) = Features::of(metadata).language() {
            return language.into();
        }
        let named = metadata.get("language").map(|named| python_text::str(named).to_lowercase());
        match named.filter(|named| language::separators(named).is_some()) {
            Some(named) => named.into(),
            None => self.language.as_str().into(),
        }
    }

    /// Repairs Markdown without line breaks: each heading gets a line of its own.
    fn repaired(&self, document: &Document) -> Option<Document> {
        let content = repaired(&document.content, self.repaired_level?)?;
        let mut metadata = document.metadata.clone().unwrap_or_default();
        metadata.insert("content_normalization".into(), "flattened_markdown".into());
        metadata.insert("content_normalization_length_preserving".into(), true.into());
        Some(Document { content, metadata: Some(metadata), ..document.clone() })
    }

    /// Divides sections that are too long, and numbers all parts.
    fn refined(
        &self,
        source: &Document,
        sections: Vec<Document>,
        ids: &DocumentIds,
    ) -> Result<Vec<Document>, NodeError> {
        let mut refined = Vec::new();
        let mut search_start = 0;
        for section in sections {
            let span = span(&source.content, &section.content, search_start..source.content.len());
            search_start = span.as_ref().map_or(search_start, |span| span.end);
            if section.content.chars().count() <= self.text.chunking.size {
                refined.push(section);
                continue;
            }
            let mut within = span.clone();
            for mut part in self.text.split(&section, ids)? {
                let found =
                    within.clone().and_then(|within| self::span(&source.content, &part.content, within));
                let metadata = part.metadata.get_or_insert_default();
                metadata.insert("source_id".into(), source.id.clone().into());
                match found {
                    Some(found) if metadata.contains_key("start_index") => {
                        let start = source.content[..found.start].chars().count();
                        metadata.insert("start_index".into(), start.into());
                        let first = source.content[found.start..].chars().next().map_or(0, char::len_utf8);
                        within = span.as_ref().map(|span| found.start + first..span.end);
                    }
                    _ => {
                        metadata.shift_remove("start_index");
                    }
                }
                refined.push(part);
            }
        }
        for (index, part) in refined.iter_mut().enumerate() {
            part.metadata.get_or_insert_default().insert("chunk_index".into(), index.into());
        }
        Ok(refined)
    }
}

impl Rule {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let texts = |key: &str| -> Vec<String> {
            let items = fields.list(key).unwrap_or_default();
            items.iter().map(|item| token(&item.to_json())).collect()
        };
        if fields.get("strategy").is_none() {
            fields.mistake(fields.yaml.spot, "a rule lacks its `strategy`".into());
        }
        let metadata = match fields.json("metadata") {
            Some(Value::Object(map)) => map.iter().map(|(key, value)| (key.clone(), token(value))).collect(),
            _ => Vec::new(),
        };
        Some(Self {
            strategy: fields.choice("strategy", STRATEGIES)?,
            file_types: texts("file_types"),
            extensions: texts("extensions")
                .iter()
                .map(|text| text.trim_start_matches('.').to_owned())
                .collect(),
            content_types: texts("content_types"),
            metadata,
        })
    }

    /// Whether all conditions hold. False for a rule without conditions.
    fn holds(&self, features: &Features, metadata: &Map<String, Value>) -> bool {
        let is_in = |known: &[String], value: &Option<String>| {
            known.is_empty() || value.as_ref().is_some_and(|value| known.contains(value))
        };
        let is_content_type = |value: &String| {
            self.content_types.iter().any(|known| {
                value
                    .strip_prefix(known.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(';'))
            })
        };
        let has_conditions = !(self.file_types.is_empty()
            && self.extensions.is_empty()
            && self.content_types.is_empty()
            && self.metadata.is_empty());
        has_conditions
            && is_in(&self.file_types, &features.file_type)
            && is_in(&self.extensions, &features.extension)
            && (self.content_types.is_empty() || features.content_type.as_ref().is_some_and(is_content_type))
            && self
                .metadata
                .iter()
                .all(|(key, value)| metadata.get(key).is_some_and(|it| token(it) == *value))
    }
}

impl Features {
    fn of(metadata: &Map<String, Value>) -> Self {
        let first = |keys: &[&str]| {
            keys.iter()
                .filter_map(|key| metadata.get(*key))
                .find(|value| !(value.is_null() || *value == "" || **value == Value::Bool(false)))
        };
        let path = || {
            let path = python_text::str(first(&["file_path", "source", "filename"])?);
            crate::nodes::files::extension(&path)
        };
        let extension = first(&["extension", "file_extension"]).map(token).or_else(path);
        Self {
            file_type: first(&["file_type", "document_type", "type"]).map(token),
            extension: extension.map(|text| text.trim_start_matches('.').to_owned()),
            content_type: first(&["content_type", "mime_type", "mimetype"]).map(token),
        }
    }

    fn language(&self) -> Option<&'static str> {
        let extension = self.extension.as_deref()?;
        LANGUAGES.iter().find(|(known, _)| *known == extension).map(|(_, language)| *language)
    }

    fn by_extension(&self) -> Option<Strategy> {
        match self.extension.as_deref()? {
            "json" => Some(Strategy::Json),
            "md" | "markdown" | "mdx" => Some(Strategy::Markdown),
            _ => self.language().map(|_| Strategy::Code),
        }
    }
}

impl Splits for AutoSplitter {
    const JOB: &'static str = "split_auto";
}

impl Splitter for AutoSplitter {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let (mut strategy, is_named) = self.strategy(document)?;
        let repaired = if strategy == Strategy::Markdown { self.repaired(document) } else { None };
        let mut source = repaired.as_ref().unwrap_or(document);
        let mut parts = match self.split_by(strategy, source, ids) {
            Ok(parts) => parts,
            Err(error) if is_named || !self.falls_back || strategy == self.fallback => return Err(error),
            Err(_) => {
                (strategy, source) = (self.fallback, document);
                self.split_by(strategy, source, ids)?
            }
        };
        let has_sections =
            matches!(strategy, Strategy::Markdown | Strategy::HtmlHeader | Strategy::HtmlSection);
        if has_sections && self.refines {
            parts = self.refined(source, parts, ids)?;
        }
        if let Some(key) = &self.key {
            let name = STRATEGIES.iter().find(|(_, known)| *known == strategy).map_or("", |(name, _)| name);
            for part in &mut parts {
                part.metadata.get_or_insert_default().insert(key.clone(), name.into());
            }
        }
        Ok(parts)
    }
}

/// A value as trimmed, lower-case text.
fn token(value: &Value) -> String {
    python_text::str(value).trim().to_lowercase()
}

/// The range of a part in its source: unchanged, or with the blank lines that splitters omit.
fn span(source: &str, part: &str, within: Range<usize>) -> Option<Range<usize>> {
    let text = source.get(within.clone())?;
    if let Some(at) = text.find(part) {
        let start = within.start + at;
        return Some(start..start + part.len());
    }
    let lines: Vec<&str> = part.split('\n').collect();
    if lines.len() < 2 {
        return None;
    }
    text.match_indices(lines[0]).find_map(|(at, _)| {
        let start = within.start + at;
        Some(start..start + end_of(&text[at..], &lines)?)
    })
}

/// The end of the lines at the start of a text, with blank lines between them.
fn end_of(text: &str, lines: &[&str]) -> Option<usize> {
    let mut rest = text.strip_prefix(lines[0])?;
    for line in &lines[1..] {
        rest = rest.strip_prefix('\n')?;
        while let Some((blank, after)) = rest.split_once('\n')
            && blank.trim().is_empty()
        {
            rest = after;
        }
        rest = rest.strip_prefix(line)?;
    }
    Some(text.len() - rest.len())
}

/// Whether a text has a typical HTML element.
fn looks_like_html(text: &str) -> bool {
    #[rustfmt::skip]
    const NAMES: &[&str] = &[
        "html", "body", "h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "section", "article", "table", "ul", "ol", "pre",
        "code",
    ];
    text.split('<').skip(1).any(|rest| {
        let rest = rest.trim_start().to_ascii_lowercase();
        let name: String = rest.chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect();
        NAMES.contains(&name.as_str())
            || rest.strip_prefix("!doctype").is_some_and(|rest| {
                let kind = rest.trim_start();
                kind.len() < rest.len() && kind.starts_with("html")
            })
    })
}

/// Whether a line is a Markdown heading.
fn is_heading(line: &str) -> bool {
    let text = line.trim_start();
    let rest = text.trim_start_matches('#');
    line.len() - text.len() <= 3
        && (1..=6).contains(&(text.len() - rest.len()))
        && rest.starts_with(char::is_whitespace)
        && !rest.trim().is_empty()
}

/// The positions, within a line, of headings of at most this level: of the white space before each.
fn headings_within(text: &str, max_level: usize) -> Vec<usize> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for (at, _) in text.match_indices('#') {
        let blanks = bytes[..at].iter().rev().take_while(|byte| is_blank(byte)).count();
        let marks = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
        let after = bytes[at + marks..].iter().take_while(|byte| is_blank(byte)).count();
        let follows = text[at + marks + after..].chars().next().is_some_and(|next| !next.is_whitespace());
        let preceded = text[..at - blanks].chars().next_back().is_some_and(|before| !before.is_whitespace());
        if blanks > 0 && (1..=max_level).contains(&marks) && after > 0 && follows && preceded {
            found.push(at - blanks);
        }
    }
    found
}

/// Whether Markdown has headings, but no line breaks.
fn has_lost_line_breaks(content: &str, start: &str) -> bool {
    content.matches('\n').count() <= 1 && headings_within(start, 6).len() >= 2
}

/// Puts each heading on a line of its own, without changing the length; `None` if there is nothing to repair.
fn repaired(text: &str, max_level: usize) -> Option<String> {
    if text.matches('\n').count() > 1 {
        return None;
    }
    let found = headings_within(text, max_level);
    let mut bytes = text.as_bytes().to_vec();
    for at in &found {
        bytes[*at] = b'\n';
    }
    (!found.is_empty()).then(|| String::from_utf8(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_html_and_markdown() {
        assert!(looks_like_html("a < P class='x'>") && looks_like_html("<!DOCTYPE html>"));
        assert!(!looks_like_html("a < b and <b>") && !looks_like_html("<!doctypehtml>"));
        assert!(
            is_heading("  ## x") && !is_heading("#x") && !is_heading("    # x") && !is_heading("####### x")
        );
        assert_eq!(repaired("a # b ## c ##### d", 4).as_deref(), Some("a\n# b\n## c ##### d"));
        assert_eq!(repaired("# b", 4), None);
    }

    #[test]
    fn finds_parts_with_omitted_lines() {
        assert_eq!(span("x\n\na\n \n\nb c", "a\nb", 0..11), Some(3..9));
        assert_eq!(span("a\nc", "a\nb", 0..3), None);
    }
}
