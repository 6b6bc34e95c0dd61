//! The tree of an HTML document.

use html5ever::{
    Attribute, LocalName, Namespace, ParseOpts, QualName, expanded_name, local_name, ns, parse_document,
    tendril::{StrTendril, TendrilSink},
    tree_builder::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink},
};
use std::{
    borrow::Cow,
    cell::{Cell, Ref, RefCell},
};

/// Limit on the nesting of elements; that of browsers is 512. The parser's work grows with the depth, and readers of
/// the tree recurse at each level.
const MAX_DEPTH: u32 = 256;

/// Limit on the nodes of a document: unclosed formatting elements are repeated in each paragraph.
const MAX_NODES: usize = 500_000;

/// Size of a piece in bytes; limits are checked after each piece.
const PIECE_BYTES: usize = 16 * 1024;

/// Why a document was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooLarge {
    #[error("the HTML is nested deeper than {MAX_DEPTH} elements")]
    Deep,
    #[error("the HTML has more than {MAX_NODES} nodes")]
    Wide,
}

/// The index of a node in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

/// The kind of a node, and its content.
#[derive(Debug)]
pub(crate) enum NodeKind {
    Document,
    Element { name: QualName, attributes: Vec<Attribute> },
    Text(StrTendril),
    Comment(StrTendril),
}

#[derive(Debug)]
struct Node {
    kind: NodeKind,
    depth: u32,
    parent: Option<NodeId>,
    previous: Option<NodeId>,
    next: Option<NodeId>,
    first: Option<NodeId>,
    last: Option<NodeId>,
}

/// A parsed document.
#[derive(Debug)]
pub(crate) struct Tree(Vec<Node>);

impl Tree {
    pub(crate) fn parse(html: &str) -> Result<Self, TooLarge> {
        let mut parser = parse_document(Builder::default(), ParseOpts::default());
        let mut rest = html;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            parser.process(StrTendril::from_slice(piece));
            if let Some(problem) = parser.tokenizer.sink.sink.too_large.get() {
                return Err(problem);
            }
            rest = after;
        }
        parser.finish()
    }

    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(crate) fn kind(&self, node: NodeId) -> &NodeKind {
        &self.0[node.0].kind
    }

    /// The local name of an element; empty for other nodes.
    pub(crate) fn name(&self, node: NodeId) -> &str {
        match self.kind(node) {
            NodeKind::Element { name, .. } => &name.local,
            _ => "",
        }
    }

    pub(crate) fn attribute(&self, node: NodeId, wanted: &str) -> Option<&str> {
        let NodeKind::Element { attributes, .. } = self.kind(node) else { return None };
        attributes.iter().find(|attribute| &*attribute.name.local == wanted).map(|found| &*found.value)
    }

    pub(crate) fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.0[node.0].parent
    }

    pub(crate) fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(self.0[node.0].first, |child| self.0[child.0].next)
    }

    /// All descendants, in document order.
    pub(crate) fn descendants(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(self.0[node.0].first, move |at| {
            self.0[at.0].first.or_else(|| {
                let within = |up: &NodeId| *up != node;
                std::iter::successors(Some(*at), |up| self.parent(*up).filter(within))
                    .find_map(|up| self.0[up.0].next)
            })
        })
    }

    /// The first descendant element with this name.
    pub(crate) fn find(&self, node: NodeId, name: &str) -> Option<NodeId> {
        self.descendants(node).find(|within| self.name(*within) == name)
    }

    /// The concatenated text of all descendants, unchanged.
    pub(crate) fn text(&self, node: NodeId) -> String {
        let mut text = String::new();
        for within in self.descendants(node) {
            if let NodeKind::Text(piece) = self.kind(within) {
                text.push_str(piece);
            }
        }
        text
    }

    fn add(&mut self, kind: NodeKind) -> NodeId {
        let (depth, parent, previous, next, first, last) = (0, None, None, None, None, None);
        self.0.push(Node { kind, depth, parent, previous, next, first, last });
        NodeId(self.0.len() - 1)
    }

    /// Inserts `node` under `parent`: before `next`, or as its last child.
    fn put(&mut self, node: NodeId, parent: NodeId, next: Option<NodeId>) {
        let previous = next.map_or(self.0[parent.0].last, |next| self.0[next.0].previous);
        let depth = self.0[parent.0].depth + 1;
        let it = &mut self.0[node.0];
        (it.depth, it.parent, it.previous, it.next) = (depth, Some(parent), previous, next);
        match previous {
            Some(previous) => self.0[previous.0].next = Some(node),
            None => self.0[parent.0].first = Some(node),
        }
        match next {
            Some(next) => self.0[next.0].previous = Some(node),
            None => self.0[parent.0].last = Some(node),
        }
    }

    fn take(&mut self, node: NodeId) {
        let it = &mut self.0[node.0];
        let (parent, previous, next) = (it.parent.take(), it.previous.take(), it.next.take());
        let Some(parent) = parent else { return };
        match previous {
            Some(previous) => self.0[previous.0].next = next,
            None => self.0[parent.0].first = next,
        }
        match next {
            Some(next) => self.0[next.0].previous = previous,
            None => self.0[parent.0].last = previous,
        }
    }
}

/// The name of an element, borrowed from the tree being built.
#[derive(Debug)]
struct Name<'t>(Ref<'t, QualName>);

impl ElemName for Name<'_> {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

/// Builds a tree.
struct Builder {
    tree: RefCell<Tree>,
    no_name: RefCell<QualName>,
    too_large: Cell<Option<TooLarge>>,
}

impl Default for Builder {
    fn default() -> Self {
        let mut tree = Tree(Vec::new());
        tree.add(NodeKind::Document);
        let no_name = QualName::new(None, ns!(), local_name!(""));
        Self { tree: RefCell::new(tree), no_name: RefCell::new(no_name), too_large: Cell::new(None) }
    }
}

impl Builder {
    fn add(&self, kind: NodeKind) -> NodeId {
        let mut tree = self.tree.borrow_mut();
        if tree.0.len() >= MAX_NODES {
            self.too_large.set(Some(TooLarge::Wide));
        }
        tree.add(kind)
    }

    fn insert(&self, parent: NodeId, next: Option<NodeId>, child: NodeOrText<NodeId>) {
        let node = match child {
            NodeOrText::AppendNode(node) => node,
            NodeOrText::AppendText(text) => {
                let mut tree = self.tree.borrow_mut();
                let previous = next.map_or(tree.0[parent.0].last, |next| tree.0[next.0].previous);
                if let Some(previous) = previous
                    && let NodeKind::Text(before) = &mut tree.0[previous.0].kind
                {
                    before.push_tendril(&text);
                    return;
                }
                drop(tree);
                self.add(NodeKind::Text(text))
            }
        };
        let mut tree = self.tree.borrow_mut();
        tree.take(node);
        tree.put(node, parent, next);
        if tree.0[node.0].depth > MAX_DEPTH {
            self.too_large.set(Some(TooLarge::Deep));
        }
    }
}

impl TreeSink for Builder {
    type Handle = NodeId;
    type Output = Result<Tree, TooLarge>;
    type ElemName<'a> = Name<'a>;

    fn finish(self) -> Self::Output {
        match self.too_large.get() {
            Some(problem) => Err(problem),
            None => Ok(self.tree.into_inner()),
        }
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> NodeId {
        Tree::ROOT
    }

    fn elem_name<'a>(&'a self, target: &'a NodeId) -> Name<'a> {
        let name = Ref::filter_map(self.tree.borrow(), |tree| match tree.kind(*target) {
            NodeKind::Element { name, .. } => Some(name),
            _ => None,
        });
        Name(name.unwrap_or_else(|_| self.no_name.borrow()))
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, _: ElementFlags) -> NodeId {
        self.add(NodeKind::Element { name, attributes })
    }

    fn create_comment(&self, text: StrTendril) -> NodeId {
        self.add(NodeKind::Comment(text))
    }

    fn create_pi(&self, _: StrTendril, data: StrTendril) -> NodeId {
        self.add(NodeKind::Comment(data))
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        self.insert(*parent, None, child);
    }

    fn append_based_on_parent_node(&self, element: &NodeId, previous: &NodeId, child: NodeOrText<NodeId>) {
        let parent = self.tree.borrow().parent(*element);
        match parent {
            Some(parent) => self.insert(parent, Some(*element), child),
            None => self.insert(*previous, None, child),
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    /// In this tree, a template's contents are its children.
    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        *target
    }

    fn same_node(&self, left: &NodeId, right: &NodeId) -> bool {
        left == right
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &NodeId, node: NodeOrText<NodeId>) {
        let parent = self.tree.borrow().parent(*sibling);
        if let Some(parent) = parent {
            self.insert(parent, Some(*sibling), node);
        }
    }

    fn add_attrs_if_missing(&self, target: &NodeId, missing: Vec<Attribute>) {
        let mut tree = self.tree.borrow_mut();
        if let NodeKind::Element { attributes, .. } = &mut tree.0[target.0].kind {
            for attribute in missing {
                if !attributes.iter().any(|known| known.name == attribute.name) {
                    attributes.push(attribute);
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &NodeId) {
        self.tree.borrow_mut().take(*target);
    }

    fn reparent_children(&self, node: &NodeId, parent: &NodeId) {
        let mut tree = self.tree.borrow_mut();
        while let Some(child) = tree.0[node.0].first {
            tree.take(child);
            tree.put(child, *parent, None);
        }
    }

    fn is_mathml_annotation_xml_integration_point(&self, target: &NodeId) -> bool {
        self.elem_name(target).expanded() == expanded_name!(mathml "annotation-xml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_unclosed_elements() {
        let tree = Tree::parse("<ul><li>a<li>b<b>c</ul>d").expect("a tree");
        let body = tree.find(Tree::ROOT, "body").expect("a body");
        let names: Vec<&str> = tree.descendants(body).map(|node| tree.name(node)).collect();
        assert_eq!(names, ["ul", "li", "", "li", "", "b", "", "b", ""]);
        assert_eq!(tree.text(body), "abcd");
        let list = tree.find(body, "ul").expect("a list");
        assert_eq!(tree.children(list).map(|item| tree.text(item)).collect::<Vec<_>>(), ["a", "bc"]);
    }

    #[test]
    fn refuses_documents_that_are_too_large() {
        assert_eq!(Tree::parse(&"<div>".repeat(2_000_000)).err(), Some(TooLarge::Deep));
        let marks: Vec<String> = (0..200).map(|mark| format!("<b id={mark}>")).collect();
        let repeated = format!("<p>{}{}", marks.concat(), "</p><p>x".repeat(10_000));
        assert_eq!(Tree::parse(&repeated).err(), Some(TooLarge::Wide));
    }
}
