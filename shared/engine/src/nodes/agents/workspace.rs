//! The files and tasks that an agent keeps during a run.

use super::built_in::failed;
use crate::flow::NodeError;
use futures::StreamExt;
use runyard_runs::{FileId, RunContext};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Total size of the files of an agent, in bytes.
const MAX_BYTES: usize = 32 << 20;

/// An agent's files and its list of tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workspace {
    files: BTreeMap<String, Arc<AgentFile>>,
    pub(crate) todos: Vec<Value>,
}

/// Content and media type of a file.
#[derive(Clone, Debug)]
pub(crate) struct AgentFile {
    pub(crate) content: Vec<u8>,
    pub(crate) mime_type: String,
}

impl AgentFile {
    /// The content, if it is UTF-8 text without NUL.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.content).ok().filter(|text| !text.contains('\0'))
    }
}

impl Workspace {
    pub(crate) fn lock(desk: &Mutex<Self>) -> MutexGuard<'_, Self> {
        desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files, by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &AgentFile)> {
        self.files.iter().map(|(path, file)| (path.as_str(), &**file))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&AgentFile> {
        self.files.get(path).map(|file| &**file)
    }

    /// Stores a file; replaces any file at this path.
    pub(crate) fn put(&mut self, path: &str, file: AgentFile) -> Result<(), NodeError> {
        let others = self.files.iter().filter(|(known, _)| known.as_str() != path);
        let bytes: usize = others.map(|(_, file)| file.content.len()).sum();
        if bytes + file.content.len() > MAX_BYTES {
            return Err(failed(format!("the files of an agent may have at most {MAX_BYTES} bytes in total")));
        }
        self.files.insert(path.to_owned(), Arc::new(file));
        Ok(())
    }

    /// Copies one of the run's files; returns its path, or `None` if the run has no such file.
    pub(crate) async fn fetch(&mut self, run: &RunContext, id: FileId) -> Result<Option<String>, NodeError> {
        let Some(known) = run.file(id) else { return Ok(None) };
        let error =
            |error: String| NodeError::new("OSError", format!("cannot read `{}`: {error}", known.name));
        let Some(mut pieces) = run.open(id).await.map_err(|e| error(e.to_string()))? else { return Ok(None) };
        let mut content = Vec::new();
        while let Some(piece) = pieces.next().await {
            content.extend_from_slice(&piece.map_err(|e| error(e.to_string()))?);
            if content.len() > MAX_BYTES {
                return Err(error(format!("it has more than {MAX_BYTES} bytes")).lasting());
            }
        }
        let path = self.free(&known.name);
        self.put(&path, AgentFile { content, mime_type: known.mime_type.clone() })?;
        Ok(Some(path))
    }

    /// The name, or if it is taken, the name with a number before its extension.
    fn free(&self, name: &str) -> String {
        let (stem, extension) = match name.rfind('.').filter(|index| *index > 0) {
            Some(dot) => name.split_at(dot),
            None => (name, ""),
        };
        let mut free = name.to_owned();
        for number in 1.. {
            if !self.files.contains_key(&free) {
                break;
            }
            free = format!("{stem}_{number}{extension}");
        }
        free
    }
}
