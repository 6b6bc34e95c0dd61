//! `LLMDocumentRanker`: asks a model whether each document answers the query, and keeps those for which it replies
//! `Yes`, in the same order.

use super::Registered;
use crate::{
    document::Document,
    flow::{Call, Halt, Kind, NodeError},
    load::{Fields, Loading},
    nodes::{
        admit::{InputCheck, TEXT},
        llms::{Ask, Model},
    },
    services::BUDGET_EXCEEDED,
    template::Template,
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const LLM_DOCUMENT_RANKER: Registered = Registered {
    class: "rankers.LLMDocumentRanker",
    name: Some("llm-document-ranker"),
    timeout: None,
    build: |id, fields, loading| Some(Box::new(LlmDocumentRanker::read(id, fields, loading)?)),
};

const PROMPT: &str =
    "Does the passage below hold an answer to the query? Say `Yes` if it does and `No` if it does \
                      not, and nothing else.

Query: {{ query }}

Passage:
{{ passage }}";

/// Documents that are judged concurrently.
const CONCURRENCY: usize = 8;

#[derive(Debug)]
struct LlmDocumentRanker {
    model: Model,
    prompt: Arc<Template>,
}

impl LlmDocumentRanker {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        // The reference accepts `top_k`, but does not use it.
        let _ = fields.count("top_k");
        if fields.get("llm").is_none() {
            fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `llm`"));
        }
        let prompt = match Template::new(fields.text("prompt_template").unwrap_or(PROMPT)) {
            Ok(prompt) => Some(Arc::new(prompt)),
            Err(problem) => {
                let message = format!("this is no Jinja template: {problem}");
                fields.mistake(fields.spot("prompt_template"), message);
                None
            }
        };
        let model = Model::read(&format!("{id}-llm"), fields.fields("llm")?, loading);
        Some(Self { model: model?, prompt: prompt? })
    }

    fn judge<'a>(
        &'a self,
        call: Call<'a>,
        index: usize,
        query: &'a str,
        passage: &'a str,
    ) -> BoxFuture<'a, Result<bool, Halt>> {
        Box::pin(async move {
            let variables = Map::from_iter([
                ("query".to_owned(), Value::from(query)),
                ("passage".to_owned(), Value::from(passage)),
            ]);
            let content = self.prompt.render(call.run, &variables).await?;
            let ask = Ask { messages: vec![json!({"role": "user", "content": content})], ..Ask::default() };
            let key = format!("{}/llm/{index}", call.key);
            match self.model.ask(call, &key, &ask, &|_| {}).await {
                Ok(reply) => Ok(reply.content.as_deref() == Some("Yes")),
                Err(Halt::Failed(error)) if error.kind != BUDGET_EXCEEDED => {
                    let message = format!("the model did not judge document {index}: {}", error.message);
                    Err(NodeError::new("ValueError", message).into())
                }
                Err(halt) => Err(halt),
            }
        })
    }
}

#[async_trait]
impl Kind for LlmDocumentRanker {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let documents = Document::read_list(input.get("documents"))?;
        let query = input["query"].as_str().unwrap_or_default();
        let judgements: Vec<_> = documents
            .iter()
            .enumerate()
            .map(|(index, document)| self.judge(call, index, query, &document.content))
            .collect();
        let judgements: Vec<bool> = stream::iter(judgements).buffered(CONCURRENCY).try_collect().await?;
        let kept = documents.into_iter().zip(judgements).filter(|(_, fits)| *fits);
        let kept: Vec<Document> = kept.map(|(document, _)| document).collect();
        Ok(Arc::new(json!({"documents": Document::list(kept)})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "an LLMDocumentRanker")?;
        admission.required("query", TEXT)?;
        admission.set("documents", Document::list(Document::read_list(input.get("documents"))?));
        Ok(admission.done())
    }
}
