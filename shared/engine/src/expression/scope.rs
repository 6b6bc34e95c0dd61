//! The record that expressions read, and paths into it.

use super::{
    methods,
    value::{Unreadable, Val},
};
use crate::compute;
use serde_json::{Map, Value};

/// A record: named inputs, and values that were computed from them.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) input: &'a Map<String, Value>,
    /// Take precedence over inputs with the same name.
    pub(crate) values: Vec<(String, Val<'a>)>,
}

/// A path as expressions write it.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Key(String),
    At(i64),
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Path {
    pub(super) fn root_of(name: &str) -> Self {
        Self { text: name.to_owned(), segments: vec![Segment::Key(name.to_owned())] }
    }

    pub(super) fn then(mut self, segment: Segment) -> Self {
        match &segment {
            Segment::Key(key) if is_plain(key) => {
                self.text.push('.');
                self.text.push_str(key);
            }
            Segment::Key(key) => {
                let escaped = key.replace('\\', "\\\\").replace('\'', "\\'");
                self.text.extend(["['", &escaped, "']"]);
            }
            Segment::At(index) => self.text.extend(["[", &index.to_string(), "]"]),
        }
        self.segments.push(segment);
        self
    }

    pub(crate) fn root(&self) -> &str {
        match &self.segments[0] {
            Segment::Key(name) => name,
            Segment::At(_) => "",
        }
    }

    pub(super) fn is_under(&self, prefix: &Self) -> bool {
        self.segments.starts_with(&prefix.segments)
    }

    /// Whether a step is a private attribute of Python.
    pub(crate) fn is_private(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Key(key) if key.starts_with("__")))
    }
}

fn is_plain(key: &str) -> bool {
    !key.starts_with(|first: char| first.is_ascii_digit())
        && !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl<'a> Scope<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<Val<'a>> {
        let value = self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let value = value.filter(|value| value.weigh(compute::copy).is_ok()).cloned();
        value.or_else(|| self.input.get(name).map(Val::from))
    }

    /// The value at a path; `None` if a step is missing.
    pub(crate) fn resolve(&self, path: &Path) -> Option<Val<'a>> {
        let mut here = self.get(path.root())?;
        for segment in &path.segments[1..] {
            if matches!(here, Val::Unreadable(_)) {
                return Some(here);
            }
            here = match segment {
                Segment::Key(key) => match here.entry(&Val::Text(key.clone())) {
                    Some(value) => value,
                    None if here.is_mapping() || key.starts_with('_') => return None,
                    None => methods::attribute(&here, key)?,
                },
                Segment::At(index) => match here.entry(&Val::Int(i128::from(*index))) {
                    Some(value) => value,
                    None => at(&here, *index)?,
                },
            };
        }
        if matches!(here, Val::Missing(_)) { None } else { Some(here) }
    }

    /// The first path whose value is missing or null.
    pub(crate) fn missing<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Option<&'p Path> {
        paths.into_iter().find(|path| self.resolve(path).is_none_or(|value| value.is_missing()))
    }

    /// The first path whose value could not be parsed.
    pub(crate) fn unreadable<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p Path>,
    ) -> Option<(&'p Path, Unreadable)> {
        paths.into_iter().find_map(|path| match self.resolve(path) {
            Some(Val::Unreadable(unreadable)) => Some((path, unreadable)),
            _ => None,
        })
    }

    pub(crate) fn is_blank(&self, path: &Path) -> bool {
        self.resolve(path).is_none_or(|value| value.is_blank())
    }
}

/// An item of a list, a tuple or a text; counted from the end if the index is negative.
pub(super) fn at<'a>(value: &Val<'a>, index: i64) -> Option<Val<'a>> {
    if !matches!(value, Val::List(_) | Val::Tuple(_) | Val::Text(_) | Val::Json(Value::Array(_))) {
        return None;
    }
    let length = value.len()?;
    let index = if index < 0 { i64::try_from(length).ok()?.checked_add(index)? } else { index };
    let index = usize::try_from(index).ok().filter(|index| *index < length)?;
    match value {
        Val::Text(text) => text.chars().nth(index).map(|character| Val::Text(character.into())),
        Val::Json(Value::Array(items)) => items.get(index).map(Val::from),
        Val::List(items) | Val::Tuple(items) => {
            items.get(index).filter(|item| item.weigh(compute::copy).is_ok()).cloned()
        }
        _ => None,
    }
}
