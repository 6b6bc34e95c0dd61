//! What a converter is given: files, or paths that name the run's files, with metadata.

use super::{Admission, Content, FILES, Files, MAPPING_OR_LIST, TEXTS, invalid};
use crate::flow::{Call, NodeError};
use runyard_runs::File;
use serde_json::{Map, Value, json};
use std::{collections::HashSet, sync::Arc};

/// How many bytes of files a node reads, all files together.
const MOST_READ: usize = 128 * 1024 * 1024;

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

/// The files of an input, in order, for as long as they are not too much together.
pub(super) struct Sources<'a> {
    call: Call<'a>,
    list: std::vec::IntoIter<Source<'a>>,
    bytes: usize,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Source<'a> {
    file: Place<'a>,
    metadata: Option<&'a Map<String, Value>>,
}

#[derive(Clone, Copy)]
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
        Ok(Self { call, list: list.into_iter(), bytes: 0 })
    }
}

impl<'a> Iterator for Sources<'a> {
    type Item = Result<Source<'a>, NodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let source = self.list.next()?;
        // A file may be named again and again.
        self.bytes = self.bytes.saturating_add(source.size(self.call));
        if self.bytes > MOST_READ {
            let most = MOST_READ >> 20;
            let problem = format!("the files have more than the {most} MiB together that a node reads");
            return Some(Err(NodeError::limit_exceeded(problem)));
        }
        Some(Ok(source))
    }
}

/// The run's files that the input's paths name; what names none is passed over, unless all do.
fn at_paths<'a>(call: Call<'a>, input: &'a Value) -> Result<Option<Vec<Place<'a>>>, NodeError> {
    let Value::Array(paths) = &input["file_paths"] else { return Ok(None) };
    let mut places: Vec<Place<'_>> = Vec::new();
    let mut known = HashSet::new();
    for path in paths.iter().filter_map(Value::as_str).filter(|path| known.insert(*path)) {
        places.extend(Files::of(call).at(path).map(|file| Place::Path(path, file)));
    }
    if places.is_empty() {
        let problem = "none of the run's files is at one of the `file_paths`";
        return Err(NodeError::new("FileNotFoundError", problem).lasting());
    }
    Ok(Some(places))
}

fn with_metadata<'a>(places: Vec<Place<'a>>, metadata: &'a Value) -> Result<Vec<Source<'a>>, NodeError> {
    if let Value::Array(items) = metadata
        && items.len() != places.len()
    {
        let problem = format!("there are {} files, but metadata of {}", places.len(), items.len());
        return Err(NodeError::new("ValueError", problem));
    }
    let of = |place: usize| match metadata {
        Value::Array(items) => items[place].as_object(),
        one => one.as_object(),
    };
    let sources = places.into_iter().enumerate();
    Ok(sources.map(|(place, file)| Source { file, metadata: of(place) }).collect())
}

impl Source<'_> {
    /// Its content, which may lack a name.
    pub(super) async fn content(&self, call: Call<'_>) -> Result<Content, NodeError> {
        match &self.file {
            Place::Path(path, file) => Files::of(call).open(file, Some(path)).await,
            Place::Input(file) => Files::of(call).read(file).await,
        }
    }

    /// How many bytes it has, about.
    pub(super) fn size(&self, call: Call<'_>) -> usize {
        match &self.file {
            Place::Path(_, file) => usize::try_from(file.size).unwrap_or(usize::MAX),
            Place::Input(file) => Files::of(call).size(file),
        }
    }

    /// A copy of its metadata.
    pub(super) fn metadata(&self) -> Map<String, Value> {
        self.metadata.cloned().unwrap_or_default()
    }

    /// The name that it has.
    pub(super) fn name(&self, call: Call<'_>) -> Option<String> {
        match &self.file {
            Place::Path(path, _) => Some((*path).to_owned()),
            Place::Input(file) => Files::of(call).name(file),
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
                let meant = own(self.metadata.and_then(|metadata| metadata.get("filename")?.as_str()));
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
}
