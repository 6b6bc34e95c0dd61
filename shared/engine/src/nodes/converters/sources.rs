//! What a converter is given: files, or paths that name the run's files, with metadata.

use super::{
    Admission, Content, DocumentIds, FILES, Files, Given, MAPPING_OR_LIST, TEXTS, extension, invalid,
};
use crate::flow::{Call, NodeError};
use runyard_runs::File;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Checks an input, of which one of `file_paths` and `files` must have something.
pub(super) fn admit(input: &Value) -> Result<Arc<Value>, NodeError> {
    let mut input = Admission::of(input, "a converter")?;
    admit_files(&mut input)?;
    input.or("metadata", Value::Null, MAPPING_OR_LIST)?;
    Ok(input.done())
}

pub(super) fn admit_files(input: &mut Admission<'_>) -> Result<(), NodeError> {
    input.or("file_paths", Value::Null, TEXTS)?;
    input.or("files", Value::Null, FILES)?;
    let has = |key: &str| input.get(key).as_array().is_some_and(|list| !list.is_empty());
    if has("file_paths") || has("files") {
        return Ok(());
    }
    Err(invalid("a converter needs `files` or `file_paths`".into()))
}

/// The files of an input, in order.
pub(super) struct Sources<'a> {
    pub(super) list: Vec<Source<'a>>,
}

/// One of them.
pub(super) struct Source<'a> {
    file: Place<'a>,
    pub(super) metadata: Map<String, Value>,
}

enum Place<'a> {
    /// One of the run's, by a path.
    Path(&'a str, &'a File),
    /// In the input.
    Input(&'a Value),
}

impl<'a> Sources<'a> {
    /// A mapping of metadata is spread over all of them; of a list, each has its own.
    pub(super) fn of(call: Call<'a>, input: &'a Value) -> Result<Self, NodeError> {
        let mut list = Vec::new();
        if let Some(places) = at_paths(call, input)? {
            list.extend(with_metadata(places, &input["metadata"])?);
        }
        if let Value::Array(files) = &input["files"] {
            list.extend(with_metadata(files.iter().map(Place::Input).collect(), &input["metadata"])?);
        }
        Ok(Self { list })
    }
}

/// The run's files that the input's paths name; what names none is passed over, unless all do.
fn at_paths<'a>(call: Call<'a>, input: &'a Value) -> Result<Option<Vec<Place<'a>>>, NodeError> {
    let Value::Array(paths) = &input["file_paths"] else { return Ok(None) };
    let mut places: Vec<Place<'_>> = Vec::new();
    for path in paths.iter().filter_map(Value::as_str) {
        let is_known = places.iter().any(|place| matches!(place, Place::Path(known, _) if *known == path));
        if let Some(file) = Files::of(call).at(path)
            && !is_known
        {
            places.push(Place::Path(path, file));
        }
    }
    if places.is_empty() {
        let problem = "none of the run's files is at one of the `file_paths`";
        return Err(NodeError::new("FileNotFoundError", problem).lasting());
    }
    Ok(Some(places))
}

fn with_metadata<'a>(places: Vec<Place<'a>>, metadata: &Value) -> Result<Vec<Source<'a>>, NodeError> {
    let count = places.len();
    let metadata: Vec<Map<String, Value>> = match metadata {
        Value::Array(items) if items.len() != count => {
            let problem = format!("there are {count} files, but metadata of {}", items.len());
            return Err(NodeError::new("ValueError", problem));
        }
        Value::Array(items) => {
            items.iter().map(|item| item.as_object().cloned().unwrap_or_default()).collect()
        }
        one => vec![one.as_object().cloned().unwrap_or_default(); count],
    };
    let sources = places.into_iter().zip(metadata);
    Ok(sources.map(|(file, metadata)| Source { file, metadata }).collect())
}

impl Source<'_> {
    /// Its content, which may lack a name.
    pub(super) async fn content(&self, call: Call<'_>) -> Result<Content, NodeError> {
        match &self.file {
            Place::Path(path, file) => Files::of(call).open(file, Some(path)).await,
            Place::Input(file) => Files::of(call).read(file).await,
        }
    }

    /// Its name, which it gets if it has none, and it as an input has it under that name.
    pub(super) fn named(&self, place: usize) -> (String, Value) {
        let own = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
        let named = |name: String, key: &str, value: &str| {
            let file = json!({"name": name, key: value});
            (name, file)
        };
        match &self.file {
            Place::Path(path, file) => {
                let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
                named(name.to_owned(), "id", &file.id.to_string())
            }
            Place::Input(file) => {
                let meant = own(self.metadata.get("filename").and_then(Value::as_str));
                let name = || own(file["name"].as_str()).or(meant).unwrap_or_else(|| format!("file_{place}"));
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

    /// Its content; without a name it gets one, if its content tells what it is.
    pub(super) async fn read(self, call: Call<'_>, ids: &DocumentIds) -> Result<Given, NodeError> {
        let Content { name, bytes } = self.content(call).await?;
        let name = name.or_else(|| Some(format!("{}.{}", ids.next(), extension(&bytes)?)));
        let Some(name) = name else {
            let problem = "a file without a name must begin as files of its type do";
            return Err(NodeError::new("ValueError", problem));
        };
        Ok(Given { name, bytes, metadata: self.metadata })
    }
}
