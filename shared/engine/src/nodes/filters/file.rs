//! `FileFilter`: keeps the files of a list that match a condition, by their `name`, `size` and `mime_type`.

use super::{Filter, InputCheck, Registered};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    nodes::files::{FILES, Files},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const FILE_FILTER: Registered = Registered {
    class: "filters.FileFilter",
    name: Some("file-filter"),
    timeout: None,
    build: |id, fields, _| Some(Box::new(FileFilter(Filter::read(id, fields)?))),
};

#[derive(Debug)]
struct FileFilter(Filter);

#[async_trait]
impl Kind for FileFilter {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let Some(files) = input["files"].as_array() else {
            return Err(NodeError::new("ValueError", "`files` of the input cannot be blank").into());
        };
        let described: Vec<Value> = files.iter().map(|file| Files::of(call).described(file)).collect();
        Ok(Arc::new(json!({"output": self.0.apply(call, &described.into()).await?})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a FileFilter")?;
        input.or("files", Value::Null, FILES)?;
        Ok(input.done())
    }
}
