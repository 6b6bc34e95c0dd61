//! The input of a converter: files, or paths that name the run's files, with metadata.

use super::{Content, FILES, Files, InputCheck, MAPPING_OR_LIST, TEXTS, invalid};
use crate::flow::{Call, NodeError};
use runyard_runs::File;
use serde_json::{Map, Value, json};
use std::{collections::HashSet, sync::Arc};

/// Limit on the size of all files that a node reads together, in bytes.
const MAX_TOTAL_BYTES: usize = 128 * 1024 * 1024;

/// Checks an input: `file_paths` or `files` must not be empty.
pub(super) fn admit(input: &Value) -> Result<Arc<Value>, NodeError> {
    let mut input = InputCheck::of(input, "a converter")?;
    admit_files(&mut input)?;
    input.or("metadata", Value::Null, MAPPING_OR_LIST)?;
    Ok(input.done())
}

pub(super) fn admit_files(input: &mut InputCheck<'_>) -> Result<(), NodeError> {
    input.or("file_paths", Value::Null, TEXTS)?;
    input.or("files", Value::Null, FILES)?;
    let has = |key: &str| input.get(key).as_array().is_some_and(|list| !list.is_empty());
    if has("file_paths") || has("files") {
        return Ok(());
    }
    Err(invalid("`files` and `file_paths` of the input cannot both be blank".into()))
}

/// Iterates over the files of an input, in order; fails when they exceed the limit together.
pub(super) struct Sources<'a> {
    call: Call<'a>,
    list: std::vec::IntoIter<Source<'a>>,
    bytes: usize,
}

/// A file of an input, with its metadata.
#[derive(Clone)]
pub(super) struct Source<'a> {
    file: Location<'a>,
    metadata: Option<&'a Map<String, Value>>,
}

#[derive(Clone, Copy)]
enum Location<'a> {
    /// One of the run's files, by a path.
    Path(&'a str, &'a File),
    /// A file in the input.
    Input(&'a Value),
}

impl<'a> Sources<'a> {
    /// `metadata` of the input is either a mapping for all files, or a list with one mapping for each.
    pub(super) fn of(call: Call<'a>, input: &'a Value) -> Result<Self, NodeError> {
        let mut list = Vec::new();
        if let Some(locations) = at_paths(call, input)? {
            list.extend(with_metadata(locations, &input["metadata"])?);
        }
        if let Value::Array(files) = &input["files"] {
            list.extend(with_metadata(files.iter().map(Location::Input).collect(), &input["metadata"])?);
        }
        Ok(Self { call, list: list.into_iter(), bytes: 0 })
    }
}

impl<'a> Iterator for Sources<'a> {
    type Item = Result<Source<'a>, NodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let source = self.list.next()?;
        // A file may be named several times.
        self.bytes = self.bytes.saturating_add(source.size(self.call));
        if self.bytes > MAX_TOTAL_BYTES {
            let max = MAX_TOTAL_BYTES >> 20;
            let problem = format!("the files together have more than {max} MiB");
            return Some(Err(NodeError::limit_exceeded(problem)));
        }
        Some(Ok(source))
    }
}

/// The run's files that the input's paths name. Paths that name no file are skipped, but at least one must name a file.
fn at_paths<'a>(call: Call<'a>, input: &'a Value) -> Result<Option<Vec<Location<'a>>>, NodeError> {
    let Value::Array(paths) = &input["file_paths"] else { return Ok(None) };
    let mut locations: Vec<Location<'_>> = Vec::new();
    let mut seen = HashSet::new();
    for path in paths.iter().filter_map(Value::as_str).filter(|path| seen.insert(*path)) {
        locations.extend(Files::of(call).at(path).map(|file| Location::Path(path, file)));
    }
    if locations.is_empty() {
        let problem = "`file_paths` of the input names none of the run's files";
        return Err(NodeError::new("FileNotFoundError", problem).lasting());
    }
    Ok(Some(locations))
}

fn with_metadata<'a>(
    locations: Vec<Location<'a>>,
    metadata: &'a Value,
) -> Result<Vec<Source<'a>>, NodeError> {
    if let Value::Array(items) = metadata
        && items.len() != locations.len()
    {
        let problem = format!(
            "there are {} files, but `metadata` of the input has {} items",
            locations.len(),
            items.len()
        );
        return Err(NodeError::new("ValueError", problem));
    }
    let of = |index: usize| match metadata {
        Value::Array(items) => items[index].as_object(),
        one => one.as_object(),
    };
    let sources = locations.into_iter().enumerate();
    Ok(sources.map(|(index, file)| Source { file, metadata: of(index) }).collect())
}

impl Source<'_> {
    /// Reads its content, which may have no name.
    pub(super) async fn content(&self, call: Call<'_>) -> Result<Content, NodeError> {
        match &self.file {
            Location::Path(path, file) => Files::of(call).open(file, Some(path)).await,
            Location::Input(file) => Files::of(call).read(file).await,
        }
    }

    /// Its approximate size in bytes.
    pub(super) fn size(&self, call: Call<'_>) -> usize {
        match &self.file {
            Location::Path(_, file) => usize::try_from(file.size).unwrap_or(usize::MAX),
            Location::Input(file) => Files::of(call).size(file),
        }
    }

    /// A copy of its metadata.
    pub(super) fn metadata(&self) -> Map<String, Value> {
        self.metadata.cloned().unwrap_or_default()
    }

    /// Its name, if it has one.
    pub(super) fn name(&self, call: Call<'_>) -> Option<String> {
        match &self.file {
            Location::Path(path, _) => Some((*path).to_owned()),
            Location::Input(file) => Files::of(call).name(file),
        }
    }

    /// Returns its name, or else one with `index`, and the file as a value for an input, with that name.
    pub(super) fn named(&self, index: usize) -> (String, Value) {
        let non_empty = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
        let named = |name: String, key: &str, value: &str| {
            let file = json!({"name": name, key: value});
            (name, file)
        };
        match &self.file {
            Location::Path(path, file) => {
                let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
                named(name.to_owned(), "id", &file.id.to_string())
            }
            Location::Input(file) => {
                let from_metadata =
                    non_empty(self.metadata.and_then(|metadata| metadata.get("filename")?.as_str()));
                let name = || {
                    non_empty(file["name"].as_str())
                        .or(from_metadata)
                        .unwrap_or_else(|| format!("file_{index}"))
                };
                if let Value::String(text) = file {
                    return named(name(), "content", text);
                }
                let mut file = (*file).clone();
                let name = name();
                file["name"] = name.as_str().into();
                (name, file)
            }
        }
    }
}
