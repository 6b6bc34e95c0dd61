//! `DOCXFileConverter`: converts Word files to Markdown: a document for each file, or for each section.

use super::{
    Converter, Converting, InputFile, Registered, TIMEOUT, archive::Archive, with_path, xml::Element,
};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

pub(super) const DOCX_CONVERTER: Registered = Registered {
    class: "converters.DOCXFileConverter",
    name: Some("docx-file-converter"),
    timeout: TIMEOUT,
    build: |_, fields, _| Some(Converting::boxed(DocxConverter::read(fields))),
};

const IMAGE: &str = "<!-- image -->";

/// Limit on the columns of a table.
const MAX_COLUMNS: usize = 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DocxConverter {
    by_section: bool,
}

impl DocxConverter {
    pub(super) fn read(fields: Fields<'_>) -> Self {
        let modes = [("one-doc-per-file", false), ("one-doc-per-page", true)];
        Self { by_section: fields.choice("document_creation_mode", &modes).unwrap_or(false) }
    }

    pub(super) fn by_file() -> Self {
        Self { by_section: false }
    }
}

impl Converter for DocxConverter {
    const JOB: &'static str = "docx";

    fn convert(&self, file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let word = Word::open(&file.bytes)?;
        let empty = || NodeError::new("ValueError", format!("there is no text in `{}`", file.name));
        let mut sections = word.sections();
        if !self.by_section {
            let content = sections.concat().join("\n\n");
            if content.trim().is_empty() {
                return Err(empty());
            }
            return Ok(vec![Document::new(ids.next(), content, with_path(file.metadata, &file.name))]);
        }
        sections.retain(|section| !section.is_empty());
        if sections.is_empty() {
            return Err(empty());
        }
        let metadata = with_path(file.metadata, &file.name);
        let section = |(number, section): (usize, &Vec<String>)| {
            let mut metadata = metadata.clone();
            metadata.insert("page_number".into(), number.into());
            metadata.insert("section_number".into(), number.into());
            metadata.insert("document_type".into(), "section".into());
            Document::new(ids.next(), section.join("\n\n"), metadata)
        };
        Ok((1..).zip(&sections).map(section).collect())
    }
}

/// A Word file.
struct Word {
    document: Element,
    /// The names of styles, by id.
    styles: HashMap<String, String>,
    /// The targets of links, by id.
    links: HashMap<String, String>,
}

impl Word {
    fn open(bytes: &[u8]) -> Result<Self, NodeError> {
        let mut archive = Archive::open(bytes)?;
        let document = Element::parse(&archive.main("word/document.xml")?)?;
        let mut optional = |name: &str| match archive.read(name)? {
            Some(bytes) => Element::parse(&bytes),
            None => Ok(Element::default()),
        };
        let styles = optional("word/styles.xml")?;
        let relations = optional("word/_rels/document.xml.rels")?;
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let styles =
            styles.children.iter().flat_map(|root| root.all("style")).filter_map(|style| {
                Some((style.attribute("styleId")?, style.child("name")?.attribute("val")?))
            });
        let links = relations.children.iter().flat_map(|root| root.all("Relationship"));
        let links = links.filter_map(|link| Some((link.attribute("Id")?, link.attribute("Target")?)));
        Ok(Self { styles: styles.map(owned).collect(), links: links.map(owned).collect(), document })
    }

    /// The blocks of text of each section.
    fn sections(&self) -> Vec<Vec<String>> {
        let mut sections = vec![Vec::new()];
        let body = self.document.children.iter().find_map(|root| root.child("body"));
        for element in body.map(|body| body.children.as_slice()).unwrap_or_default() {
            let has_image = element.find("blip").is_some();
            let text = match &*element.name {
                "p" => {
                    let text = self.paragraph(element);
                    match (has_image, text.trim().is_empty()) {
                        (true, true) => IMAGE.into(),
                        (true, false) => format!("{text}\n\n{IMAGE}"),
                        (false, _) => text,
                    }
                }
                "tbl" => table(element),
                _ if has_image => IMAGE.into(),
                _ => String::new(),
            };
            if let Some(section) = sections.last_mut()
                && !text.trim().is_empty()
            {
                section.push(text);
            }
            if element.find("sectPr").is_some() {
                sections.push(Vec::new());
            }
        }
        sections
    }

    /// Converts a paragraph to Markdown: to a heading or an item of a list, by its style, or to text.
    fn paragraph(&self, paragraph: &Element) -> String {
        let text = self.inline(paragraph);
        let properties = paragraph.child("pPr");
        let style = properties.and_then(|it| it.child("pStyle")).and_then(|style| style.attribute("val"));
        let style = style.and_then(|id| self.styles.get(id)).map_or("", String::as_str);
        if let Some(level) = heading_level(style) {
            return format!("{} {text}", "#".repeat(level));
        }
        let Some(list) = paragraph.find("numPr") else { return text };
        let value = |name: &str| list.child(name).and_then(|it| it.attribute("val"));
        if value("numId").is_none_or(|id| id.is_empty() || id == "0") {
            return text;
        }
        let level =
            value("ilvl").and_then(|level| level.parse().ok()).map_or(1, |level: usize| level.min(32) + 1);
        let mark = if style.contains("Number") { format!("{level}.") } else { "•".into() };
        format!("{}{mark} {text}", "  ".repeat(level - 1))
    }

    fn inline(&self, paragraph: &Element) -> String {
        if plain(paragraph).trim().is_empty() {
            return String::new();
        }
        let mut text = String::new();
        for element in &paragraph.children {
            match &*element.name {
                "r" => text.push_str(&formatted(&run_text(element), Some(element), None)),
                "hyperlink" => {
                    let target =
                        element.attribute("id").and_then(|id| self.links.get(id)).map(String::as_str);
                    text.push_str(&formatted(&plain(element), element.child("r"), target));
                }
                _ => {}
            }
        }
        text
    }
}

/// The level of a heading's style, such as `heading 2`.
fn heading_level(style: &str) -> Option<usize> {
    let style = style.to_lowercase();
    let mut rest = style.as_str();
    while let Some((_, after)) = rest.split_once("heading") {
        let after = after.trim_start();
        let digits = after.len() - after.trim_start_matches(|next: char| next.is_ascii_digit()).len();
        if let Ok(level) = after[..digits].parse::<usize>() {
            return Some(level.min(32));
        }
        rest = after;
    }
    None
}

/// The text of runs and links, without formatting.
fn plain(element: &Element) -> String {
    let text = |child: &Element| match &*child.name {
        "r" => run_text(child),
        "hyperlink" => plain(child),
        _ => String::new(),
    };
    element.children.iter().map(text).collect()
}

fn run_text(run: &Element) -> String {
    let piece = |child: &Element| match &*child.name {
        "t" => child.text.clone(),
        "tab" | "ptab" => "\t".into(),
        "br" if matches!(child.attribute("type"), Some("page" | "column")) => String::new(),
        "br" | "cr" => "\n".into(),
        "noBreakHyphen" => "-".into(),
        _ => String::new(),
    };
    run.children.iter().map(piece).collect()
}

/// Adds the marks of a run's formatting, and of a link, to its text. Marks are not put next to white space.
fn formatted(text: &str, run: Option<&Element>, target: Option<&str>) -> String {
    let core = text.trim();
    if core.is_empty() {
        return text.to_owned();
    }
    let properties = run.and_then(|run| run.child("rPr"));
    let is_on = |name: &str| {
        let property = properties.and_then(|properties| properties.child(name));
        property.is_some_and(|it| !matches!(it.attribute("val"), Some("0" | "false" | "off" | "none")))
    };
    let mut marked = core.to_owned();
    for (name, mark) in [("b", "**"), ("i", "*"), ("u", "_")] {
        if is_on(name) {
            marked = format!("{mark}{marked}{mark}");
        }
    }
    if let Some(target) = target {
        marked = format!("[{marked}]({target})");
    }
    let start = text.len() - text.trim_start().len();
    format!("{}{marked}{}", &text[..start], &text[text.trim_end().len()..])
}

/// A cell, repeated in each column and row that it spans.
#[derive(Clone)]
struct GridCell {
    /// Unique in the table.
    number: usize,
    text: String,
}

/// The cells of each row, by column.
fn grid(table: &Element) -> Vec<Vec<GridCell>> {
    let mut rows: Vec<Vec<GridCell>> = Vec::new();
    let mut count = 0;
    for row in table.all("tr") {
        let mut cells: Vec<GridCell> = Vec::new();
        for cell in row.all("tc") {
            let properties = cell.child("tcPr");
            let property = |name: &str| properties.and_then(|properties| properties.child(name));
            let span = property("gridSpan").and_then(|it| it.attribute("val")?.parse().ok()).unwrap_or(1);
            let continues = property("vMerge").is_some_and(|it| it.attribute("val") != Some("restart"));
            let above = rows.last().filter(|_| continues).and_then(|row| row.get(cells.len())).cloned();
            let grid_cell = above.unwrap_or_else(|| {
                count += 1;
                let paragraphs: Vec<String> = cell.all("p").map(plain).collect();
                GridCell { number: count, text: paragraphs.join("\n") }
            });
            let room = MAX_COLUMNS.saturating_sub(cells.len());
            cells.extend(std::iter::repeat_n(grid_cell, usize::clamp(span, 1, MAX_COLUMNS).min(room)));
        }
        rows.push(cells);
    }
    rows
}

/// Converts a table to Markdown. A table of a single cell is only a frame around text.
fn table(table: &Element) -> String {
    let rows = grid(table);
    let columns = table.child("tblGrid").map_or(0, |grid| grid.all("gridCol").count());
    if let ([row], 1) = (rows.as_slice(), columns)
        && let Some(cell) = row.first()
        && !cell.text.trim().is_empty()
    {
        return cell.text.clone();
    }
    let escaped = |cell: &GridCell| cell.text.trim().replace('|', "\\|").replace('\n', "<br>");
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let mut lines = Vec::new();
    let mut written = HashSet::new();
    for (index, row) in rows.iter().enumerate() {
        if index == 0 {
            lines.push(line(row.iter().map(escaped).collect()));
            lines.push(line(vec!["---".into(); row.len()]));
            continue;
        }
        let cells: Vec<String> = row.iter().filter(|cell| written.insert(cell.number)).map(escaped).collect();
        if !cells.is_empty() {
            lines.push(line(cells));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_levels_of_headings_from_styles() {
        for (style, level) in
            [("heading 1", Some(1)), ("My Heading3", Some(3)), ("Heading", None), ("Normal", None)]
        {
            assert_eq!(heading_level(style), level, "{style}");
        }
    }

    #[test]
    fn puts_marks_next_to_text() {
        let run = Element::parse(b"<r><rPr><b/><u val='none'/><i val='1'/></rPr></r>").expect("XML");
        assert_eq!(formatted(" a b ", run.child("r"), Some("u")), " [***a b***](u) ");
    }
}
