//! Static analysis of a check: which reads it needs, where only the truth of an `and` or `or` counts, and where the
//! values of helpers come from.

use super::{
    parse::{Expr, Node},
    reads::{Reads, path_of},
    scope::Path,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Notes on the parts of a check, by node id.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Reads that stop the check if the value is missing. The flag is true for guarded reads, which null does not stop.
    pub(super) needs: HashMap<u32, (Path, bool)>,
    /// Each `and` and `or` of which only the truth counts.
    pub(super) deciding: HashSet<u32>,
    /// Each `or` whose left side could be lazy.
    pub(super) lazy_left: HashSet<u32>,
    /// Helper calls, and where their input comes from.
    pub(super) blanks: HashMap<u32, Source>,
    /// The arguments of `days_between`, and where they come from.
    pub(super) dates: HashMap<u32, Source>,
    /// Parts whose values determine which branches were taken.
    pub(super) kept: HashSet<u32>,
}

/// Where a value comes from in the record.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Path(Path),
    /// Several sources together.
    All(Vec<Self>),
    /// The first source if the kept value was true, else the second.
    If(u32, Box<Self>, Box<Self>),
    Or(u32, Box<Self>, Box<Self>),
    And(u32, Box<Self>, Box<Self>),
    /// The value, or the fallback if it replaced the value. `falsy`: whether it also replaces false values, if known.
    Default {
        kept: u32,
        falsy: Option<bool>,
        value: Box<Self>,
        fallback: Box<Self>,
    },
    /// The path, or the fallback if the record lacks it.
    Get(Path, Box<Self>),
    /// The value may come from elsewhere.
    Unknown,
}

/// Helpers that return a blank for blank input.
pub(super) const BLANK_MAKERS: &[&str] = &["text", "number", "date", "first_present"];

/// Filters with lazy results.
const LAZY: &[&str] =
    &["select", "reject", "selectattr", "rejectattr", "map", "batch", "slice", "unique", "items", "reverse"];

impl Notes {
    pub(super) fn of(root: &Node, reads: &Reads) -> Self {
        let mut notes = Self::default();
        for (id, path) in &reads.needed {
            notes.needs.insert(*id, (path.clone(), !reads.required.contains(path)));
        }
        notes.mark(root, true, true);
        notes.helpers(root);
        notes
    }

    fn mark(&mut self, node: &Node, truth: bool, verdict: bool) {
        match &node.kind {
            Expr::And(left, right) | Expr::Or(left, right) => {
                if truth {
                    self.deciding.insert(node.id);
                    if verdict && matches!(node.kind, Expr::Or(..)) && could_be_lazy(left) {
                        self.lazy_left.insert(node.id);
                    }
                }
                self.mark(left, truth, verdict);
                self.mark(right, truth, verdict);
            }
            Expr::If { test, then, otherwise } => {
                self.mark(test, true, false);
                self.mark(then, truth, verdict);
                if let Some(otherwise) = otherwise {
                    self.mark(otherwise, truth, verdict);
                }
            }
            Expr::Not(operand) => self.mark(operand, true, false),
            _ => node.children().into_iter().for_each(|child| self.mark(child, false, false)),
        }
    }

    fn helpers(&mut self, node: &Node) {
        if let Expr::Call(callee, arguments) = &node.kind
            && let Expr::Name(name) = &callee.kind
        {
            if BLANK_MAKERS.contains(&name.as_str()) {
                let source = self.source(node);
                if source.names_a_path() {
                    self.blanks.insert(node.id, source);
                }
            }
            if name == "days_between" {
                for argument in arguments.iter() {
                    let source = self.source(argument);
                    self.dates.insert(argument.id, source);
                }
            }
        }
        node.children().into_iter().for_each(|child| self.helpers(child));
    }

    fn keep(&mut self, node: &Node) -> u32 {
        self.kept.insert(node.id);
        node.id
    }

    fn all<'n>(&mut self, nodes: impl IntoIterator<Item = &'n Node>) -> Source {
        let mut parts = Vec::new();
        for node in nodes {
            match self.source(node) {
                Source::Unknown => return Source::Unknown,
                source => parts.push(source),
            }
        }
        Source::All(parts)
    }

    fn source(&mut self, node: &Node) -> Source {
        if let Some(path) = path_of(node) {
            return Source::Path(path);
        }
        let nothing = || Source::All(Vec::new());
        match &node.kind {
            Expr::Const(_) => nothing(),
            Expr::Filter(base, name, arguments) if matches!(name.as_str(), "default" | "d") => {
                let falsy = match arguments.get(1, "boolean").map(|node| &node.kind) {
                    None => Some(false),
                    Some(Expr::Const(Value::Bool(flag))) => Some(*flag),
                    Some(_) => None,
                };
                let fallback = arguments.get(0, "default_value");
                let fallback = fallback.map_or_else(nothing, |fallback| self.source(fallback));
                Source::Default {
                    kept: self.keep(base),
                    falsy,
                    value: Box::new(self.source(base)),
                    fallback: Box::new(fallback),
                }
            }
            Expr::Filter(base, ..) => self.all([base.as_ref()]),
            Expr::If { test, then, otherwise } => {
                let kept = self.keep(test);
                let then = Box::new(self.source(then));
                let otherwise = otherwise.as_ref().map_or(Source::Unknown, |node| self.source(node));
                Source::If(kept, then, Box::new(otherwise))
            }
            Expr::Or(left, right) => {
                Source::Or(self.keep(left), Box::new(self.source(left)), Box::new(self.source(right)))
            }
            Expr::And(left, right) => {
                Source::And(self.keep(left), Box::new(self.source(left)), Box::new(self.source(right)))
            }
            Expr::Call(callee, arguments) => match &callee.kind {
                Expr::Attribute(base, name) if name == "get" => {
                    let key = arguments.placed.first().map(|node| &node.kind);
                    let Some(Expr::Const(Value::String(key))) = key else { return Source::Unknown };
                    let Some(path) = path_of(base) else { return Source::Unknown };
                    if arguments.placed.len() > 2 || !arguments.named.is_empty() {
                        return Source::Unknown;
                    }
                    let fallback = arguments.placed.get(1).map_or_else(nothing, |node| self.source(node));
                    Source::Get(path.then(super::scope::Segment::Key(key.clone())), Box::new(fallback))
                }
                Expr::Attribute(base, _) => self.all([base.as_ref()]),
                Expr::Name(name) if BLANK_MAKERS.contains(&name.as_str()) && name != "first_present" => {
                    self.all(arguments.get(0, "value"))
                }
                Expr::Name(_) => self.all(arguments.iter()),
                _ => Source::Unknown,
            },
            // A computed key, or a member of a computed value.
            Expr::Attribute(..) | Expr::Item(..) => Source::Unknown,
            _ => self.all(node.children()),
        }
    }
}

impl Source {
    pub(super) fn names_a_path(&self) -> bool {
        match self {
            Self::Path(_) | Self::Get(..) => true,
            Self::All(parts) => parts.iter().any(Self::names_a_path),
            Self::If(_, one, other) | Self::Or(_, one, other) | Self::And(_, one, other) => {
                one.names_a_path() || other.names_a_path()
            }
            Self::Default { value, fallback, .. } => value.names_a_path() || fallback.names_a_path(),
            Self::Unknown => false,
        }
    }
}

fn could_be_lazy(node: &Node) -> bool {
    match &node.kind {
        Expr::Filter(base, name, arguments) if matches!(name.as_str(), "default" | "d") => {
            could_be_lazy(base) || arguments.placed.first().is_some_and(could_be_lazy)
        }
        Expr::Filter(_, name, _) => LAZY.contains(&name.as_str()),
        Expr::And(left, right) | Expr::Or(left, right) => could_be_lazy(left) || could_be_lazy(right),
        Expr::If { then, otherwise, .. } => {
            could_be_lazy(then) || otherwise.as_ref().is_some_and(|node| could_be_lazy(node))
        }
        Expr::Call(callee, arguments) => {
            matches!(&callee.kind, Expr::Name(name) if name == "first_present")
                && arguments.placed.iter().any(could_be_lazy)
        }
        _ => false,
    }
}
