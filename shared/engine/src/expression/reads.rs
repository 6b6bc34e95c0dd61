//! What an expression reads of a record: the paths that it needs, and those that it only tests.

use super::{
    filters,
    parse::{Expr, Node},
    scope::{Path, Segment},
};
use serde_json::Value;

/// Names that are defined in every expression.
pub(crate) const GLOBALS: &[&str] = &[
    "has",
    "days_between",
    "date",
    "today",
    "len",
    "abs",
    "min",
    "max",
    "sum",
    "round",
    "text",
    "number",
    "first_present",
    "range",
    "dict",
    "lipsum",
    "cycler",
    "joiner",
    "namespace",
];

/// Helpers that an expression may not both call and read as a value: such an expression does not compile.
pub(crate) const RESERVED: &[&str] =
    &["has", "days_between", "date", "today", "len", "abs", "min", "max", "sum", "round"];

/// Tests of a value that may be missing.
const TESTS_OF_OPTIONAL: &[&str] = &["defined", "undefined", "none", "sameas", "present", "blank"];

/// What an expression reads.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) required: Vec<Path>,
    pub(crate) optional: Vec<Path>,
    /// Helpers that are called, and names of helpers that are read as values.
    pub(crate) called: Vec<String>,
    pub(crate) read: Vec<String>,
    /// Paths that are called as if they were helpers.
    pub(crate) unknown_calls: Vec<Path>,
    /// Filters and tests that do not exist, as `("filter", "lowr")`, and whether each is in a branch.
    pub(crate) unknown_names: Vec<(&'static str, String, bool)>,
    /// The nodes that read a required path, with the path.
    pub(super) needed: Vec<(u32, Path)>,
    /// Paths in fallbacks, which do not guard others.
    lenient: Vec<Path>,
}

impl Reads {
    pub(super) fn of(nodes: &[&Node]) -> Self {
        let mut reads = Self::default();
        for node in nodes {
            reads.collect(node, true, false, false);
        }
        // A tested path may be missing, and so may all paths under it: the test guards them.
        let (guarded, required): (Vec<Path>, Vec<Path>) = std::mem::take(&mut reads.required)
            .into_iter()
            .partition(|path| reads.optional.iter().any(|guard| path.is_under(guard)));
        reads.required = required;
        let lenient = std::mem::take(&mut reads.lenient);
        for path in guarded {
            add(&mut reads.optional, path);
        }
        for path in lenient.into_iter().filter(|path| !reads.required.contains(path)).collect::<Vec<_>>() {
            add(&mut reads.optional, path);
        }
        let mut read: Vec<String> = Vec::new();
        for path in reads.all() {
            if GLOBALS.contains(&path.root()) && !read.iter().any(|known| known == path.root()) {
                read.push(path.root().to_owned());
            }
        }
        reads.read = read;
        reads
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        self.required.iter().chain(&self.optional)
    }

    /// A name that is both read as a value and called as a helper.
    pub(crate) fn clash(&self) -> Option<&str> {
        self.read.iter().find(|name| self.called.contains(name)).map(String::as_str)
    }

    fn collect(&mut self, node: &Node, required: bool, lenient: bool, in_branch: bool) {
        let unknown = match &node.kind {
            Expr::Filter(_, name, _) if !filters::is_filter(name) => Some(("filter", name)),
            Expr::Test(_, name, _) if !filters::is_test(name) => Some(("test", name)),
            _ => None,
        };
        if let Some((kind, name)) = unknown
            && !self.unknown_names.iter().any(|(known, other, _)| *known == kind && other == name)
        {
            self.unknown_names.push((kind, name.clone(), in_branch));
        }
        match &node.kind {
            Expr::Call(callee, arguments) => match &callee.kind {
                Expr::Name(name) if GLOBALS.contains(&name.as_str()) => {
                    if !self.called.contains(name) {
                        self.called.push(name.clone());
                    }
                    let lenient = lenient || name == "first_present";
                    for argument in arguments.iter() {
                        self.collect(argument, required && name != "has", lenient, in_branch);
                    }
                    return;
                }
                // A method reads its value.
                Expr::Attribute(base, _) => {
                    for part in std::iter::once(base.as_ref()).chain(arguments.iter()) {
                        self.collect(part, required, lenient, in_branch);
                    }
                    return;
                }
                _ => {
                    if let Some(path) = path_of(callee) {
                        add(&mut self.unknown_calls, path);
                    }
                }
            },
            Expr::Test(base, name, _) if TESTS_OF_OPTIONAL.contains(&name.as_str()) => {
                return self.collect(base, false, lenient, in_branch);
            }
            Expr::Filter(base, name, arguments) if name == "default" => {
                self.collect(base, false, lenient, in_branch);
                for argument in &arguments.placed {
                    self.collect(argument, required, lenient, in_branch);
                }
                return;
            }
            _ => {}
        }
        if let Some(path) = path_of(node) {
            let paths = match (lenient, required) {
                (true, _) => &mut self.lenient,
                (false, true) => &mut self.required,
                (false, false) => &mut self.optional,
            };
            add(paths, path.clone());
            if required && !lenient {
                self.needed.push((node.id, path));
            }
            return;
        }
        let branches = matches!(node.kind, Expr::If { .. });
        for child in node.children() {
            self.collect(child, required, lenient, in_branch || branches);
        }
    }
}

fn add(paths: &mut Vec<Path>, path: Path) {
    if !paths.contains(&path) {
        paths.push(path);
    }
}

/// The path that a chain of names and constant keys reads.
pub(super) fn path_of(node: &Node) -> Option<Path> {
    match &node.kind {
        Expr::Name(name) => Some(Path::root_of(name)),
        Expr::Attribute(base, name) => Some(path_of(base)?.then(Segment::Key(name.clone()))),
        Expr::Item(base, key) => {
            let Expr::Const(key) = &key.kind else { return None };
            let segment = match key {
                Value::String(key) => Segment::Key(key.clone()),
                Value::Number(index) => Segment::At(index.as_i64()?),
                _ => return None,
            };
            Some(path_of(base)?.then(segment))
        }
        _ => None,
    }
}
