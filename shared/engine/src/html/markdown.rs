//! Converts HTML to Markdown.

use super::{NodeId, NodeKind, Tree};
use std::fmt::Write as _;

/// Block elements.
#[rustfmt::skip]
const BLOCKS: &[&str] = &[
    "address", "article", "aside", "blockquote", "center", "dd", "dir", "div", "dl", "dt", "fieldset", "figcaption",
    "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "menu", "nav",
    "noscript", "ol", "p", "pre", "section", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
];

/// Converts HTML, a whole document or a fragment, to Markdown.
pub(crate) fn markdown(html: &str, tree: &Tree) -> String {
    let start = html.trim_start();
    let begins = |with: &str| start.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let mut writer = Writer { tree, lists: Vec::new() };
    let text = if begins("<html") || begins("<!doctype") {
        let root = tree.find(Tree::ROOT, "html").unwrap_or(Tree::ROOT);
        writer.element(root)
    } else {
        let body = tree.find(Tree::ROOT, "body").unwrap_or(Tree::ROOT);
        let is_block = tree.descendants(body).any(|node| BLOCKS.contains(&tree.name(node)));
        let text = writer.content(body, "");
        if is_block { format!("\n\n{text}\n\n") } else { text }
    };
    squeeze(&text)
}

/// Trims a text, and replaces more than three consecutive line breaks by two.
fn squeeze(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    let mut breaks = 0;
    for character in text.trim().chars().chain(['\0']) {
        if character == '\n' {
            breaks += 1;
            continue;
        }
        let kept = if breaks > 3 { 2 } else { breaks };
        squeezed.extend(std::iter::repeat_n('\n', kept));
        breaks = 0;
        squeezed.push(character);
    }
    squeezed.pop();
    squeezed
}

struct Writer<'t> {
    tree: &'t Tree,
    /// The open lists, the outermost first.
    lists: Vec<List>,
}

#[derive(Clone, Copy)]
enum List {
    Bullets,
    /// Holds the number of the last item.
    Numbers(i64),
}

impl Writer<'_> {
    fn element(&mut self, node: NodeId) -> String {
        let tree = self.tree;
        let whole = || tree.text(node);
        match tree.name(node) {
            "script" | "style" => String::new(),
            "html" | "body" => self.content(node, "\n"),
            heading @ ("h1" | "h2" | "h3" | "h4" | "h5" | "h6") => {
                let level = usize::from(heading.as_bytes()[1] - b'0');
                format!("\n\n{} {}\n\n", "#".repeat(level), whole().trim())
            }
            "p" => {
                let content = self.inline(node);
                if content.trim().is_empty() { String::new() } else { format!("\n\n{content}\n\n") }
            }
            "a" => {
                let target = tree.attribute(node, "href").unwrap_or_default();
                let content = whole();
                format!("[{}]({target})", if content.is_empty() { target } else { &content })
            }
            "img" => image(tree, node),
            "strong" | "b" => format!("**{}**", whole().trim()),
            "em" | "i" => format!("*{}*", whole().trim()),
            "code" if tree.parent(node).is_some_and(|parent| tree.name(parent) == "pre") => whole(),
            "code" => format!("`{}`", whole()),
            "pre" => code_block(tree, node),
            "ul" => self.list(node, List::Bullets),
            "ol" => {
                let start = tree.attribute(node, "start").and_then(|start| start.trim().parse().ok());
                self.list(node, List::Numbers(start.unwrap_or(1_i64).saturating_sub(1)))
            }
            "li" => self.item(node),
            "br" => "\n".into(),
            "hr" => "\n\n---\n\n".into(),
            "table" => table(tree, node),
            "tr" | "th" | "td" => String::new(),
            "blockquote" => quote(&whole()),
            "div" => format!("\n\n{}\n\n", self.content(node, "")),
            _ => self.content(node, ""),
        }
    }

    /// The Markdown of all children, without those that are only white space.
    fn content(&mut self, node: NodeId, separator: &str) -> String {
        let tree = self.tree;
        let mut parts: Vec<String> = Vec::new();
        for child in tree.children(node) {
            let part = match tree.kind(child) {
                NodeKind::Text(text) => text.to_string(),
                NodeKind::Element { .. } => self.element(child),
                _ => continue,
            };
            if !part.trim().is_empty() {
                parts.push(part);
            }
        }
        parts.join(separator)
    }

    /// The Markdown of all children, with white space.
    fn inline(&mut self, node: NodeId) -> String {
        let tree = self.tree;
        let mut content = String::new();
        for child in tree.children(node) {
            match tree.kind(child) {
                NodeKind::Text(text) => content.push_str(text),
                NodeKind::Element { .. } => content.push_str(&self.element(child)),
                _ => {}
            }
        }
        content
    }

    fn list(&mut self, node: NodeId, list: List) -> String {
        self.lists.push(list);
        let content = self.content(node, "\n");
        self.lists.pop();
        format!("\n{content}\n")
    }

    fn item(&mut self, node: NodeId) -> String {
        let depth = self.lists.len().saturating_sub(1);
        let mark = match self.lists.last_mut() {
            Some(List::Numbers(last)) => {
                *last = last.saturating_add(1);
                format!("{last}.")
            }
            _ => "*".into(),
        };
        format!("{}{mark} {}", "  ".repeat(depth), self.inline(node))
    }
}

fn image(tree: &Tree, node: NodeId) -> String {
    let attribute = |name: &str| tree.attribute(node, name).unwrap_or_default();
    let title = attribute("title");
    let title = if title.is_empty() { String::new() } else { format!(" \"{title}\"") };
    format!("![{}]({}{title})", attribute("alt"), attribute("src"))
}

fn code_block(tree: &Tree, node: NodeId) -> String {
    let code = tree.children(node).find(|child| tree.name(*child) == "code");
    let classes = code.and_then(|code| tree.attribute(code, "class")).unwrap_or_default();
    let language = classes.split_whitespace().find_map(|class| class.strip_prefix("language-"));
    format!("\n```{}\n{}\n```\n", language.unwrap_or_default(), tree.text(code.unwrap_or(node)))
}

fn quote(text: &str) -> String {
    let line = |line: &str| if line.trim().is_empty() { ">".to_owned() } else { format!("> {line}") };
    format!("\n\n{}\n\n", text.split('\n').map(line).collect::<Vec<_>>().join("\n"))
}

/// The header is the first row that has only header cells, or else the first row.
fn table(tree: &Tree, node: NodeId) -> String {
    let mut header: Option<Vec<String>> = None;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for row in tree.descendants(node).filter(|within| tree.name(*within) == "tr") {
        let is_cell = |child: &NodeId| matches!(tree.name(*child), "th" | "td");
        let cells: Vec<NodeId> = tree.children(row).filter(is_cell).collect();
        let texts = cells.iter().map(|cell| tree.text(*cell).trim().to_owned()).collect();
        let is_header = !cells.is_empty() && cells.iter().all(|cell| tree.name(*cell) == "th");
        if is_header && header.is_none() { header = Some(texts) } else { rows.push(texts) }
    }
    rows.retain(|row: &Vec<String>| row.iter().any(|cell| !cell.is_empty()));
    let Some(header) = header.or_else(|| (!rows.is_empty()).then(|| rows.remove(0))) else {
        return String::new();
    };
    rows.insert(0, header);
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::from("\n\n");
    for (index, row) in rows.iter().enumerate() {
        let cells = (0..width).map(|cell| row.get(cell).map_or("", String::as_str));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let _ = writeln!(text, "| {} |", vec!["---"; width].join(" | "));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(html: &str) -> String {
        markdown(html, &Tree::parse(html).expect("a tree"))
    }

    #[test]
    fn writes_lists_and_tables() {
        assert_eq!(convert("<ol start=3><li>a<li>b</ol>"), "3. a\n4. b");
        let table = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td></tr></table>";
        assert_eq!(convert(table), "| a | b |\n| --- | --- |\n| 1 |  |");
        assert_eq!(convert("<table></table>"), "");
    }

    #[test]
    fn removes_extra_empty_lines() {
        assert_eq!(convert("<div><div><p>a</p></div></div><p>b</p>"), "a\n\nb");
    }
}
