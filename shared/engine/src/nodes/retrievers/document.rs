//! `…DocumentRetriever`: finds the documents of a store that are nearest to a vector.

use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    nodes::admit::{Check, InputCheck, MAPPING, NUMBER, TEXT, WHOLE},
    vectors::{Columns, Filter, Query, VectorStore},
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const VECTOR: Check = Check::new("a list of numbers", |value| {
    value.as_array()?.iter().all(Value::is_number).then(|| value.clone())
});
pub(super) const SHARE: Check = Check::new("a number from 0 to 1", |value| {
    value.as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)).then(|| value.clone())
});
pub(super) const DISTANCE: Check = Check::new("a number that is not negative", |value| {
    value.as_f64().is_some_and(|distance| distance >= 0.0).then(|| value.clone())
});

#[derive(Debug)]
struct DocumentRetriever {
    store: Box<dyn VectorStore>,
    filters: Map<String, Value>,
    top_k: u32,
    threshold: Option<f64>,
    alpha: f64,
    max_distance: Option<f64>,
}

pub(super) fn build(store: Option<Box<dyn VectorStore>>, fields: Fields<'_>) -> Option<Box<dyn Kind>> {
    let filters = match fields.json("filters") {
        None => Map::new(),
        Some(Value::Object(filters)) => filters,
        Some(_) => {
            fields.mistake(fields.spot("filters"), "`filters` must be a mapping".into());
            return None;
        }
    };
    let store = store?;
    if let Err(problem) = Filter::read_for(&*store, &filters) {
        fields.mistake(fields.spot("filters"), NodeError::from(problem).message);
        return None;
    }
    Some(Box::new(DocumentRetriever {
        filters,
        top_k: fields.count("top_k").unwrap_or(10),
        threshold: fields.float("similarity_threshold"),
        alpha: fields.float("alpha").unwrap_or(0.5),
        max_distance: fields.float("max_vector_distance"),
        store,
    }))
}

#[async_trait]
impl Kind for DocumentRetriever {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let vector: Vec<f64> =
            input["embedding"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let filters = input["filters"].as_object().filter(|filters| !filters.is_empty());
        let filter =
            Filter::read_for(&*self.store, filters.unwrap_or(&self.filters)).map_err(NodeError::from)?;
        let wanted = input["top_k"].as_i64().filter(|wanted| *wanted != 0);
        let limit = wanted.map_or(Ok(self.top_k), u32::try_from).ok().filter(|limit| *limit > 0);
        let Some(limit) = limit else {
            return Err(NodeError::new("ValueError", "`top_k` must be at least 1").into());
        };
        let threshold = input["similarity_threshold"].as_f64().or(self.threshold);
        let query = Query {
            vector: &vector,
            words: input["query"].as_str().filter(|words| !words.is_empty()),
            alpha: input["alpha"].as_f64().unwrap_or(self.alpha),
            limit,
            filter: filter.as_ref(),
            threshold,
            max_distance: input["max_vector_distance"].as_f64().or(self.max_distance),
            columns: columns(input),
        };
        call.run.outside().await?;
        let mut documents = self.store.search(call, query).await.map_err(NodeError::from)?;
        if let Some(threshold) = threshold {
            documents
                .retain(|document| document.score.is_none_or(|score| self.store.passes(score, threshold)));
        }
        Ok(Arc::new(json!({"documents": crate::document::Document::list(documents)})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a document retriever")?;
        admission.required("embedding", VECTOR)?;
        admission.or("filters", json!({}), MAPPING)?;
        admission.or("top_k", 0, WHOLE)?;
        admission.optional("similarity_threshold", NUMBER)?;
        admission.optional("content_key", TEXT)?;
        admission.optional("embedding_key", TEXT)?;
        admission.optional("query", TEXT)?;
        admission.optional("alpha", SHARE)?;
        admission.optional("max_vector_distance", DISTANCE)?;
        Ok(admission.done())
    }
}

/// The names that the input has for the parts of documents.
fn columns(input: &Value) -> Columns<'_> {
    let name = |key: &str| input[key].as_str().filter(|name| !name.is_empty());
    Columns { content: name("content_key"), vector: name("embedding_key") }
}
