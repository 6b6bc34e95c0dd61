//! YAML as a tree with line numbers, for error messages.

use super::problem::Complaint;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// A value and its position.
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// A line and a column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

pub(super) enum Value {
    Scalar { text: String, is_plain: bool },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

/// Maximum nesting of values: walking and dropping a tree recurses.
const MAX_DEPTH: usize = 64;

/// Parses the only document of `text`; `None` if it is empty.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Complaint> {
    let mut open: Vec<(Position, Open)> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = Position { line: error.marker().line(), column: error.marker().col() + 1 };
            Complaint::at(at, format!("invalid YAML: {}", error.info()))
        })?;
        let at = position(span);
        let opens = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if opens && open.len() >= MAX_DEPTH {
            return Err(Complaint::at(at, format!("values nest deeper than {MAX_DEPTH} levels")));
        }
        let node = match event {
            Event::Scalar(text, style, ..) => {
                let is_plain = style == ScalarStyle::Plain;
                Node { at, value: Value::Scalar { text: text.into_owned(), is_plain } }
            }
            Event::SequenceStart(..) => {
                open.push((at, Open::List(Vec::new())));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((at, Open::Map(Vec::new(), None)));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((at, Open::List(items))) => Node { at, value: Value::List(items) },
                Some((at, Open::Map(fields, _))) => Node { at, value: Value::Map(fields) },
                None => continue,
            },
            Event::Alias(_) => {
                return Err(Complaint::at(at, "aliases are not supported: write the value out"));
            }
            Event::DocumentStart(_) if root.is_some() => {
                return Err(Complaint::at(
                    at,
                    "a second document begins here: keep one document in this file",
                ));
            }
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(node),
            Some((_, Open::List(items))) => items.push(node),
            Some((_, Open::Map(fields, key))) => match key.take() {
                None => *key = Some(node),
                Some(key) => fields.push((key, node)),
            },
        }
    }
    Ok(root)
}

/// A list or map whose end has not been read.
enum Open {
    List(Vec<Node>),
    /// The fields, and the key whose value has not been read.
    Map(Vec<(Node, Node)>, Option<Node>),
}

fn position(span: Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
}
