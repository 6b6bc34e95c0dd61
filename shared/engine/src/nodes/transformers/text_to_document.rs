//! `TextToDynamiqDocument`: makes documents from texts.

use super::{InputCheck, MAPPING_OR_LIST, Registered, TEXTS, invalid};
use crate::{
    document::{Document, DocumentIds},
    flow::{Call, Halt, Kind, NodeError},
};
use async_trait::async_trait;
use runyard_runs::{MAX_OUTPUT_BYTES, MAX_OUTPUT_VALUES, Size};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const TEXT_TO_DOCUMENT: Registered = Registered {
    class: "transformers.TextToDynamiqDocument",
    name: Some("text-to-dynamiq-document"),
    timeout: None,
    build: |_, _, _| Some(Box::new(TextToDocument)),
};

#[derive(Debug)]
struct TextToDocument;

#[async_trait]
impl Kind for TextToDocument {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let items = |key: &str| input[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let ids = DocumentIds::new(call);
        let documents = items("texts").iter().zip(items("metadata")).map(|(text, metadata)| {
            let content = text.as_str().unwrap_or_default().to_owned();
            Document::new(ids.next(), content, metadata.as_object().cloned().unwrap_or_default())
        });
        Ok(Arc::new(json!({"documents": Document::list(documents.collect())})))
    }

    /// `metadata` is either one mapping for all texts, or a list with one for each text.
    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a TextToDynamiqDocument")?;
        input.required("texts", TEXTS)?;
        input.optional("metadata", MAPPING_OR_LIST)?;
        let texts = input.get("texts").as_array().map_or(0, Vec::len);
        let metadata = match input.get("metadata") {
            Value::Array(items) if items.len() != texts => {
                let count = items.len();
                return Err(invalid(format!(
                    "`metadata` of the input must have one mapping for each of the {texts} texts, but it has {count}"
                )));
            }
            Value::Array(items) if items.iter().all(Value::is_object) => items.clone(),
            Value::Array(_) => {
                return Err(invalid(
                    "`metadata` of the input must be a mapping or a list of mappings".into(),
                ));
            }
            Value::Null => vec![json!({}); texts],
            shared => {
                let size = Size::of(shared);
                if size.values.saturating_mul(texts) > MAX_OUTPUT_VALUES
                    || size.bytes.saturating_mul(texts) > MAX_OUTPUT_BYTES
                {
                    return Err(NodeError::limit_exceeded(format!(
                        "`metadata` of the input, repeated for each of {texts} texts, has more than {MAX_OUTPUT_VALUES} values or {} MiB",
                        MAX_OUTPUT_BYTES >> 20
                    )));
                }
                vec![shared.clone(); texts]
            }
        };
        input.set("metadata", metadata.into());
        Ok(input.done())
    }
}
