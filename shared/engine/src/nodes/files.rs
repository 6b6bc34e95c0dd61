//! How a node reads files.
//!
//! A file in an input is either one of the run's files, as `{"id": …}` or its id alone, or inline:
//! `{"name": …, "content": "text"}`, `{"name": …, "base64": "…"}`, or text without a name. A path also names one of the
//! run's files: a workflow has no access to a file system.

use super::admit::Check;
use crate::{
    flow::{Call, NodeError},
    job::JobTurn,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::TryStreamExt;
use runyard_runs::{File, FileId};
use serde_json::{Value, json};

/// Limit on the size of a file, in bytes: a converter holds in memory both the whole file and what it makes of it.
pub(super) const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Files up to this size, in bytes, are read without waiting for a turn.
const MAX_SMALL_BYTES: usize = 1024 * 1024;

/// A file, or its text.
pub(super) const FILE_OR_TEXT: Check =
    Check::new("text or a file", |value| is_file(value).then(|| value.clone()));

/// A list of files.
pub(super) const FILES: Check =
    Check::new("a list of files", |value| value.as_array()?.iter().all(is_file).then(|| value.clone()));

/// Files by names that the node gives a meaning. A text must be the id of a file, not a file's content.
pub(super) const FILES_BY_NAME: Check = Check::new("a mapping of files by name", |value| {
    let is_one = |file: &Value| is_file(file) && file.as_str().is_none_or(is_id);
    value.as_object()?.values().all(is_one).then(|| value.clone())
});

fn is_file(value: &Value) -> bool {
    value.is_string() || ["id", "content", "base64"].iter().any(|key| value[*key].is_string())
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) name: Option<String>,
    pub(super) bytes: Vec<u8>,
}

/// Reads files on behalf of a node.
#[derive(Clone, Copy)]
pub(super) struct Files<'a>(Call<'a>);

impl<'a> Files<'a> {
    pub(super) fn of(call: Call<'a>) -> Self {
        Self(call)
    }

    /// Reads a file of an input.
    pub(super) async fn read(self, file: &Value) -> Result<Content, NodeError> {
        let text = |key: &str| file[key].as_str();
        let name = text("name").filter(|name| !name.is_empty()).map(str::to_owned);
        if let Some(id) = text("id").or_else(|| file.as_str().filter(|text| is_id(text))) {
            let known = id.parse().ok().and_then(|id| self.0.run.file(FileId(id)));
            let known = known.ok_or_else(|| missing(format!("the run has no file {id}")))?;
            return self.open(known, name.as_deref()).await;
        }
        if let Some(content) = text("content").or(file.as_str()) {
            check_size(content.len(), name_of(file))?;
            return Ok(Content { name, bytes: content.as_bytes().to_vec() });
        }
        let encoded = text("base64").unwrap_or_default();
        check_size(encoded.len() / 4 * 3, name_of(file))?;
        match BASE64_STANDARD.decode(encoded) {
            Ok(bytes) => Ok(Content { name, bytes }),
            Err(problem) => {
                let problem = format!("the `base64` of {} is invalid: {problem}", name_of(file));
                Err(NodeError::new("ValueError", problem).lasting())
            }
        }
    }

    /// The approximate size of a file in bytes, without reading it.
    pub(super) fn size(self, file: &Value) -> usize {
        match self.known(file) {
            Some(known) => usize::try_from(known.size).unwrap_or(usize::MAX),
            None => match file["content"].as_str().or(file.as_str()) {
                Some(content) => content.len(),
                None => file["base64"].as_str().unwrap_or_default().len() / 4 * 3,
            },
        }
    }

    /// Waits for the app's turn to hold `bytes` of a file in memory. `None`, at once, for a small file.
    pub(super) async fn turn(self, bytes: usize) -> Result<Option<Box<dyn JobTurn>>, NodeError> {
        if bytes <= MAX_SMALL_BYTES {
            return Ok(None);
        }
        Ok(Some(self.0.services.jobs.turn(self.0.run.new_run().app).await?))
    }

    /// The name of a file, without reading it.
    pub(super) fn name(self, file: &Value) -> Option<String> {
        let name = file["name"].as_str().filter(|name| !name.is_empty());
        name.or_else(|| self.known(file).map(|known| known.name.as_str())).map(str::to_owned)
    }

    /// The run's file whose id the input has.
    fn known(self, file: &Value) -> Option<&'a File> {
        let id = file["id"].as_str().or_else(|| file.as_str().filter(|text| is_id(text)))?;
        self.0.run.file(FileId(id.parse().ok()?))
    }

    /// Returns the description of one of the run's files for its id; any other file unchanged.
    pub(super) fn described(self, file: &Value) -> Value {
        let id = file.as_str().filter(|text| is_id(text)).and_then(|id| id.parse().ok());
        match id.and_then(|id| self.0.run.file(FileId(id))) {
            Some(known) => json!(known),
            None => file.clone(),
        }
    }

    /// The run's file whose name is the whole path or its last segment.
    pub(super) fn at(self, path: &str) -> Option<&'a File> {
        let files = &self.0.run.new_run().files;
        let last = path.rsplit(['/', '\\']).next().unwrap_or(path);
        files.iter().find(|file| file.name == path).or_else(|| files.iter().find(|file| file.name == last))
    }

    /// Reads one of the run's files; `name` overrides its name.
    pub(super) async fn open(self, file: &File, name: Option<&str>) -> Result<Content, NodeError> {
        let failed = |problem: String| NodeError::new("OSError", problem);
        check_size(usize::try_from(file.size).unwrap_or(usize::MAX), &file.name)?;
        let stream = self.0.run.open(file.id).await;
        let stream = stream.map_err(|error| failed(format!("`{}` cannot be read: {error}", file.name)))?;
        let Some(mut stream) = stream else { return Err(missing(format!("`{}` is gone", file.name))) };
        let mut bytes = Vec::new();
        while let Some(piece) = stream
            .try_next()
            .await
            .map_err(|error| failed(format!("`{}` cannot be read: {error}", file.name)))?
        {
            check_size(bytes.len() + piece.len(), &file.name)?;
            bytes.extend_from_slice(&piece);
        }
        Ok(Content { name: Some(name.unwrap_or(&file.name).to_owned()), bytes })
    }
}

/// The extension of a file's name, in lower case.
pub(super) fn extension(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_lowercase())
}

fn is_id(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn name_of(file: &Value) -> &str {
    file["name"].as_str().unwrap_or("a file")
}

fn missing(problem: String) -> NodeError {
    NodeError::new("FileNotFoundError", problem).lasting()
}

/// Refuses a file that is too large.
fn check_size(bytes: usize, name: &str) -> Result<(), NodeError> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let problem = format!("`{name}` is larger than the {} MiB that a node reads", MOST_BYTES >> 20);
    Err(NodeError::limit_exceeded(problem))
}
