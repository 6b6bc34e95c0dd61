//! `selector`: a mapping of keys to paths, alternatives (`||`) or plain text.

use super::{CompiledPath, Data, path::Refusal, pointer};
use crate::flow::NodeError;
use serde_json::{Map, Value};

/// A compiled selector.
#[derive(Debug)]
pub(crate) struct Selector(Vec<(String, Expression)>);

#[derive(Debug)]
enum Expression {
    /// Text that the path parser refuses.
    Literal(String),
    /// A path. If nothing matches: the text itself if `or_text`, else null.
    Path { pointer: CompiledPath, or_text: bool },
    /// The first of several that has a value.
    Coalesce(Vec<Candidate>),
}

#[derive(Debug)]
enum Candidate {
    Literal(String),
    Path(CompiledPath),
}

impl Selector {
    pub(crate) fn new<'t>(entries: impl Iterator<Item = (&'t str, &'t str)>) -> Self {
        Self(entries.map(|(key, text)| (key.to_owned(), Expression::new(text))).collect())
    }

    /// The keys whose paths exceed a limit, each with the error.
    pub(crate) fn over_limit(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(key, expression)| Some((key.as_str(), expression.over_limit()?)))
    }

    pub(crate) fn apply(&self, data: Data<'_>) -> Result<Value, NodeError> {
        if let Data::Json(value) = data
            && !matches!(value, Value::Object(_) | Value::Array(_))
        {
            return Err(NodeError::new("TypeError", "Invalid `json`: must be a dictionary or a list"));
        }
        let mut selected = Map::with_capacity(self.0.len());
        for (key, expression) in &self.0 {
            selected.insert(key.clone(), expression.value(data)?);
        }
        Ok(Value::Object(selected))
    }
}

impl Expression {
    fn new(text: &str) -> Self {
        let candidates: Vec<&str> =
            text.split("||").map(str::trim).filter(|candidate| !candidate.is_empty()).collect();
        if text.contains("||") && candidates.iter().any(|candidate| is_rooted(candidate)) {
            return Self::Coalesce(candidates.into_iter().filter_map(Candidate::new).collect());
        }
        let pointer = CompiledPath::new(text);
        match pointer.refusal() {
            Some(Refusal::Parser(_)) => Self::Literal(text.to_owned()),
            _ => Self::Path { or_text: !text.starts_with(['$', '@']), pointer },
        }
    }

    fn over_limit(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Path { pointer, .. } => pointer.over_limit(),
            Self::Coalesce(candidates) => candidates.iter().find_map(|candidate| match candidate {
                Candidate::Literal(_) => None,
                Candidate::Path(pointer) => pointer.over_limit(),
            }),
        }
    }

    fn value(&self, data: Data<'_>) -> Result<Value, NodeError> {
        match self {
            Self::Literal(text) => Ok(Value::String(text.clone())),
            Self::Path { pointer, or_text } => {
                if let Some(Refusal::Lexer(problem)) = pointer.refusal() {
                    return Err(pointer::lexer_error(problem));
                }
                let found = pointer.find(data).map_err(|error| {
                    error.into_node(|error| {
                        let message = format!("Error in jsonpath during parsing: {}", error.message);
                        NodeError::new("ValueError", message)
                    })
                })?;
                if found.is_empty() && *or_text {
                    return Ok(Value::String(pointer.text().to_owned()));
                }
                Ok(pointer::one_or_list(found).into_owned())
            }
            Self::Coalesce(candidates) => {
                for candidate in candidates {
                    let pointer = match candidate {
                        Candidate::Literal(text) => return Ok(Value::String(text.clone())),
                        Candidate::Path(pointer) => pointer,
                    };
                    let found = pointer.find(data).map_err(|error| {
                        error.into_node(|error| NodeError::new(error.kind, error.message))
                    })?;
                    if found.iter().any(|value| !value.is_null()) {
                        return Ok(pointer::one_or_list(found).into_owned());
                    }
                }
                Ok(Value::Null)
            }
        }
    }
}

impl Candidate {
    /// `None` for an invalid path, which is skipped.
    fn new(text: &str) -> Option<Self> {
        if !is_rooted(text) {
            return Some(Self::Literal(text.to_owned()));
        }
        let pointer = CompiledPath::new(text);
        (pointer.refusal().is_none() || pointer.over_limit().is_some()).then_some(Self::Path(pointer))
    }
}

/// Whether a text is meant as a path: `$` or `@`, either alone or followed by `.` or `[`.
pub(crate) fn is_rooted(text: &str) -> bool {
    text.strip_prefix(['$', '@']).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
