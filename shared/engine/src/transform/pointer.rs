//! A path of a file, compiled.

use super::{
    Data, FindError, find,
    path::{self, Path, Refusal},
};
use crate::flow::NodeError;
use serde_json::Value;
use std::borrow::Cow;

/// A text that is meant as a path. As in the reference, an invalid path is an error only when it is followed.
#[derive(Debug)]
pub(crate) struct CompiledPath {
    text: String,
    parsed: Result<Parsed, Refusal>,
}

#[derive(Debug)]
struct Parsed {
    /// The path as plain steps, if it consists of keys and non-negative indexes only.
    steps: Option<Vec<PathStep>>,
    path: Path,
}

#[derive(Debug)]
pub(super) enum PathStep {
    Key(String),
    At(usize),
}

impl CompiledPath {
    pub(crate) fn new(text: &str) -> Self {
        let parsed = path::parse(text).map(|path| Parsed { steps: steps(&path), path });
        Self { text: text.to_owned(), parsed }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.parsed.as_ref().err()
    }

    /// The limit that the path exceeds, if any.
    pub(crate) fn over_limit(&self) -> Option<&str> {
        match self.refusal() {
            Some(Refusal::Limit(problem)) => Some(problem),
            _ => None,
        }
    }

    /// All matches; none for an invalid path.
    pub(crate) fn find<'a>(&'a self, data: Data<'a>) -> Result<Vec<Cow<'a, Value>>, FindError> {
        let Ok(parsed_path) = &self.parsed else { return Ok(Vec::new()) };
        if let Some(steps) = &parsed_path.steps
            && let Ok(found) = walk(steps, data)
        {
            return Ok(found.into_iter().collect());
        }
        match data.counted()? {
            Cow::Borrowed(value) => find::find(&parsed_path.path, value),
            Cow::Owned(value) => {
                let found = find::find(&parsed_path.path, &value)?;
                Ok(found.into_iter().map(|value| Cow::Owned(value.into_owned())).collect())
            }
        }
    }

    /// The only match, a list of several, or null; an error for an invalid path.
    pub(crate) fn filter<'a>(&'a self, data: Data<'a>) -> Result<Cow<'a, Value>, NodeError> {
        self.filter_all(data).map(one_or_list)
    }

    /// All matches; an error for an invalid path.
    pub(crate) fn filter_all<'a>(&'a self, data: Data<'a>) -> Result<Vec<Cow<'a, Value>>, NodeError> {
        match self.refusal() {
            Some(Refusal::Lexer(problem)) => return Err(lexer_error(problem)),
            Some(Refusal::Parser(_)) => {
                let message = format!("Invalid `expression_filter` {}: must be a jsonpath", self.text);
                return Err(NodeError::new("ValueError", message));
            }
            Some(Refusal::Limit(problem)) => return Err(NodeError::limit_exceeded(problem.as_str())),
            None => {}
        }
        self.find(data).map_err(|error| {
            error.into_node(|error| {
                let message = format!(
                    "Error in path during parsing with `expression_filter` {}: {}",
                    self.text, error.message
                );
                NodeError::new("ValueError", message)
            })
        })
    }
}

pub(super) fn lexer_error(problem: &str) -> NodeError {
    NodeError::new("JsonPathLexerError", problem.to_owned())
}

/// The only match, a list of several, or null.
pub(super) fn one_or_list(mut found: Vec<Cow<'_, Value>>) -> Cow<'_, Value> {
    match found.len() {
        0 => Cow::Owned(Value::Null),
        1 => found.swap_remove(0),
        _ => Cow::Owned(found.into_iter().map(Cow::into_owned).collect()),
    }
}

fn steps(path: &Path) -> Option<Vec<PathStep>> {
    fn collect(path: &Path, first: bool, steps: &mut Vec<PathStep>) -> bool {
        match path {
            Path::Root if first => {}
            Path::Fields(names) => match names.as_slice() {
                [name] if name != "*" => steps.push(PathStep::Key(name.clone())),
                _ => return false,
            },
            Path::Index(index) => match usize::try_from(*index) {
                Ok(index) => steps.push(PathStep::At(index)),
                Err(_) => return false,
            },
            Path::Child(left, right) => {
                return collect(left, first, steps) && collect(right, false, steps);
            }
            _ => return false,
        }
        true
    }
    let mut steps = Vec::new();
    collect(path, true, &mut steps).then_some(steps)
}

/// The data needs the general search: plain steps do not suffice.
struct NotPlain;

fn walk<'a>(steps: &[PathStep], data: Data<'a>) -> Result<Option<Cow<'a, Value>>, NotPlain> {
    match data {
        Data::Json(value) => walk_json(steps, value).map(|found| found.map(Cow::Borrowed)),
        Data::Source(source) => {
            let Some((PathStep::Key(key), rest)) = steps.split_first() else { return Err(NotPlain) };
            let Some(result) = source.result(key) else {
                let Some(value) = source.input.get(key) else { return Ok(None) };
                return walk_json(rest, value).map(|found| found.map(Cow::Borrowed));
            };
            let Some((field, rest)) = rest.split_first() else {
                return Ok(Some(Cow::Owned(source.result_with_input(result))));
            };
            let PathStep::Key(field) = field else { return Err(NotPlain) };
            let owned = match field.as_str() {
                "output" => return walk_json(rest, &result.output).map(|found| found.map(Cow::Borrowed)),
                "status" => Value::String(result.status.name().to_owned()),
                "input" => source.input_of(result),
                "error" => match &result.error {
                    Some(error) => error.to_json(),
                    None => return Ok(None),
                },
                _ => return Ok(None),
            };
            Ok(walk_json(rest, &owned)?.cloned().map(Cow::Owned))
        }
    }
}

fn walk_json<'v>(steps: &[PathStep], value: &'v Value) -> Result<Option<&'v Value>, NotPlain> {
    let mut here = value;
    for step in steps {
        let next = match (step, here) {
            (PathStep::Key(key), Value::Object(map)) => map.get(key),
            (PathStep::Key(_), _) => None,
            (PathStep::At(index), Value::Array(items)) => items.get(*index),
            (PathStep::At(_), _) => return Err(NotPlain),
        };
        match next {
            Some(value) => here = value,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}
