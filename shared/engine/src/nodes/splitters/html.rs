//! `HTMLHeaderSplitter` and `HTMLSectionSplitter`: divide HTML into the texts under each heading. The metadata of a
//! part has the headings above it.

use super::{
    Registered, Splits, Splitter, Splitting, check_part_count,
    markdown::{documents, headings},
};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    html::{NodeId, NodeKind, Tree},
    load::Fields,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) const HTML_HEADER_SPLITTER: Registered = Registered {
    class: "splitters.HTMLHeaderSplitter",
    name: Some("HTMLHeaderSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(HtmlSplitter::read(fields, ""))),
};

pub(super) const HTML_SECTION_SPLITTER: Registered = Registered {
    class: "splitters.HTMLSectionSplitter",
    name: Some("HTMLSectionSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(HtmlSplitter::read(fields, ""))),
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HtmlSplitter {
    headings: Vec<Heading>,
    by_element: bool,
}

/// An element that is a heading, the key of its text, and its level. A heading ends all headings of the same or a
/// deeper level.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    tag: String,
    key: String,
    level: u32,
}

impl HtmlSplitter {
    /// Reads the fields, whose names begin with `prefix`.
    pub(super) fn read(fields: Fields<'_>, prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}{name}");
        let default = || (1..=4).map(|level| (format!("h{level}"), format!("h{level}"))).collect();
        let list = key("headers_to_split_on");
        let mut known = Vec::new();
        for (tag, key) in headings(fields, &list).unwrap_or_else(default) {
            match tag.get(1..).and_then(|level| level.parse().ok()) {
                Some(level) => known.push(Heading { tag, key, level }),
                None => fields.mistake(fields.spot(&list), format!("`{tag}` is not a heading, such as `h1`")),
            }
        }
        if fields.text(&key("xpath_filter")).is_some_and(|path| !path.is_empty()) {
            let problem = format!("`{}` is not supported; remove it", key("xpath_filter"));
            fields.mistake(fields.spot(&key("xpath_filter")), problem);
        }
        Self { headings: known, by_element: fields.bool(&key("return_each_element")).unwrap_or(false) }
    }

    fn parts(&self, tree: &Tree) -> Vec<(String, Map<String, Value>)> {
        let body = tree.find(Tree::ROOT, "body").unwrap_or(Tree::ROOT);
        let mut parts = Vec::new();
        let mut active: Vec<(&Heading, String)> = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        let map = |active: &[(&Heading, String)]| {
            active.iter().map(|(heading, title)| (heading.key.clone(), title.as_str().into())).collect()
        };
        for node in tree.descendants(body) {
            if let Some(heading) = self.headings.iter().find(|heading| heading.tag == tree.name(node)) {
                if !texts.is_empty() {
                    parts.push((std::mem::take(&mut texts).join("\n"), map(&active)));
                }
                active.retain(|(above, _)| above.level < heading.level);
                active.push((heading, title(tree, node)));
                continue;
            }
            let (NodeKind::Text(text) | NodeKind::Comment(text)) = tree.kind(node) else { continue };
            let text = text.trim();
            if text.is_empty() || self.is_in_heading(tree, node) {
                continue;
            }
            if self.by_element {
                parts.push((text.to_owned(), map(&active)));
            } else {
                texts.push(text);
            }
        }
        if !texts.is_empty() {
            parts.push((texts.join("\n"), map(&active)));
        }
        parts
    }

    fn is_in_heading(&self, tree: &Tree, node: NodeId) -> bool {
        std::iter::successors(tree.parent(node), |node| tree.parent(*node))
            .any(|above| self.headings.iter().any(|heading| heading.tag == tree.name(above)))
    }
}

/// The concatenated texts of a heading, each trimmed.
fn title(tree: &Tree, node: NodeId) -> String {
    tree.descendants(node)
        .filter_map(|within| match tree.kind(within) {
            NodeKind::Text(text) => Some(text.trim()),
            _ => None,
        })
        .collect()
}

impl Splitter for HtmlSplitter {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let tree = Tree::parse(&document.content)
            .map_err(|problem| NodeError::limit_exceeded(problem.to_string()))?;
        let parts = self.parts(&tree);
        check_part_count(parts.len())?;
        Ok(documents(document, parts, ids))
    }
}

impl Splits for HtmlSplitter {
    const JOB: &'static str = "split_html";
}
