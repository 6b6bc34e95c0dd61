//! Parses the XML of office files into a tree. Names have no prefixes, and entities that a document declares are
//! omitted.

use crate::{charset, flow::NodeError};
use quick_xml::{
    Reader,
    escape::{resolve_predefined_entity, unescape},
    events::{BytesStart, Event},
};

/// Limit on the nesting of elements; readers of the tree recurse at each level.
const MAX_DEPTH: usize = 256;

/// Limit on the elements of a file: each takes far more memory than its text.
const MAX_ELEMENTS: usize = 1_000_000;

/// An XML element.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: Box<str>,
    attributes: Vec<(Box<str>, String)>,
    pub(super) children: Vec<Self>,
    /// The text directly in it, without that of its children.
    pub(super) text: String,
}

impl Element {
    /// Parses a file; returns an element without a name that holds the root.
    pub(super) fn parse(xml: &[u8]) -> Result<Self, NodeError> {
        let xml = charset::decode_markup(xml);
        let mut reader = Reader::from_str(&xml);
        reader.config_mut().check_end_names = false;
        let mut open = vec![Self::default()];
        let mut elements = 0;
        loop {
            match reader.read_event().map_err(unreadable)? {
                Event::Start(start) => {
                    if open.len() > MAX_DEPTH {
                        return Err(NodeError::limit_exceeded(format!(
                            "the XML of the file is nested deeper than {MAX_DEPTH} elements"
                        )));
                    }
                    open.push(Self::of(&start));
                    elements += 1;
                }
                Event::Empty(start) => {
                    if let Some(parent) = open.last_mut() {
                        parent.children.push(Self::of(&start));
                    }
                    elements += 1;
                }
                Event::End(_) => close(&mut open),
                Event::Text(text) => add_text(&mut open, &text),
                Event::CData(text) => add_text(&mut open, &text),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(character)) => add_text(&mut open, character.encode_utf8(&mut [0; 4])),
                    _ => add_text(&mut open, resolve_predefined_entity(&reference).unwrap_or_default()),
                },
                Event::Eof => break,
                _ => {}
            }
            if elements > MAX_ELEMENTS {
                return Err(NodeError::limit_exceeded(format!(
                    "the XML of the file has more than {MAX_ELEMENTS} elements"
                )));
            }
        }
        while open.len() > 1 {
            close(&mut open);
        }
        Ok(open.pop().unwrap_or_default())
    }

    fn of(start: &BytesStart<'_>) -> Self {
        let attributes = start.attributes().filter_map(Result::ok).map(|attribute| {
            let value = unescape(&attribute.value).map_or_else(|_| attribute.value.to_string(), Into::into);
            (attribute.key.local_name().as_ref().into(), value)
        });
        let name = start.local_name().as_ref().into();
        Self { name, attributes: attributes.collect(), ..Self::default() }
    }

    pub(super) fn attribute(&self, wanted: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| &**name == wanted).map(|(_, value)| value.as_str())
    }

    /// All attributes with this local name, which may differ in their prefixes.
    pub(super) fn attributes<'e>(&'e self, wanted: &'e str) -> impl Iterator<Item = &'e str> {
        self.attributes.iter().filter(move |(name, _)| &**name == wanted).map(|(_, value)| value.as_str())
    }

    /// The first child with this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| &*child.name == name)
    }

    /// The children with this name.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| &*child.name == name)
    }

    /// The first descendant with this name.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        self.children
            .iter()
            .find_map(|child| if &*child.name == name { Some(child) } else { child.find(name) })
    }
}

fn close(open: &mut Vec<Element>) {
    if open.len() > 1
        && let Some(element) = open.pop()
        && let Some(parent) = open.last_mut()
    {
        parent.children.push(element);
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn unreadable(problem: impl std::fmt::Display) -> NodeError {
    NodeError::new("XMLSyntaxError", format!("the XML of the file cannot be read: {problem}")).lasting()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::LIMIT_EXCEEDED;

    #[test]
    fn reads_names_texts_and_attributes() {
        let root = Element::parse(
            b"<?xml version='1.0'?><w:a r:id='1&amp;2'><w:b>x &lt;&#65;<![CDATA[&]]></w:b><b/></w:a>",
        );
        let a = root.expect("XML").children.pop().expect("a root");
        assert_eq!((&*a.name, a.attribute("id")), ("a", Some("1&2")));
        assert_eq!(a.all("b").map(|b| b.text.as_str()).collect::<Vec<_>>(), ["x <A&", ""]);
        assert_eq!(a.find("b").expect("b").text, "x <A&");
    }

    #[test]
    fn refuses_deep_nesting_and_does_not_expand_entities() {
        let deep = "<a>".repeat(100_000);
        assert_eq!(Element::parse(deep.as_bytes()).expect_err("too deep").kind, LIMIT_EXCEEDED);
        let laughs = "<!DOCTYPE a [<!ENTITY b 'haha'>]><a>&b;</a>";
        assert_eq!(Element::parse(laughs.as_bytes()).expect("XML").child("a").expect("a").text, "");
    }
}
