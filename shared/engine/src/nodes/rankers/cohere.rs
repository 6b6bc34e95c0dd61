//! `CohereReranker`: sorts documents by how well they answer a query, with one of Cohere's models.

use super::Registered;
use crate::{
    document::Document,
    flow::{Call, Halt, Kind, NodeError},
    http_client::{self, Failure},
    llm::LlmError,
    load::{Fields, Loading},
    nodes::{
        admit::{InputCheck, TEXT},
        connection::{Setting, needed},
    },
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::Duration};

pub(super) const COHERE_RERANKER: Registered = Registered {
    class: "rankers.CohereReranker",
    name: Some("cohere-reranker"),
    timeout: None,
    build: |_, fields, loading| Some(Box::new(CohereReranker::read(fields, loading)?)),
};

const URL: Setting =
    Setting { key: "url", variable: "COHERE_API_BASE", default: Some("https://api.cohere.com") };
const KEY: Setting = Setting { key: "api_key", variable: "COHERE_API_KEY", default: None };
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

struct CohereReranker {
    url: String,
    api_key: String,
    model: String,
    top_k: u32,
    threshold: f64,
}

/// Omits the key.
impl fmt::Debug for CohereReranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CohereReranker")
            .field("url", &self.url)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl CohereReranker {
    fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let model = fields.text("model").unwrap_or("rerank-v3.5");
        let (top_k, threshold) = (fields.count("top_k"), fields.float("threshold"));
        let connection = needed(&["Cohere"], fields, loading)?;
        let url = URL.of(Some(&connection), fields, loading)?;
        Some(Self {
            url: url.trim_end_matches('/').to_owned(),
            api_key: KEY.of(Some(&connection), fields, loading)?,
            model: model.strip_prefix("cohere/").unwrap_or(model).to_owned(),
            top_k: top_k.unwrap_or(5),
            threshold: threshold.unwrap_or(0.0),
        })
    }

    async fn rank(&self, call: Call<'_>, query: &Value, documents: &[Document]) -> Result<Value, LlmError> {
        let texts: Vec<&str> = documents.iter().map(|document| document.content.as_str()).collect();
        let body = json!({"model": self.model, "query": query, "documents": texts, "top_n": self.top_k});
        let url = format!("{}/v2/rerank", self.url);
        let answer = http_client::call(&call.services.http, &url, IDLE_TIMEOUT, |client, url| {
            client.post(url).bearer_auth(&self.api_key).json(&body)
        });
        let answer = answer.await.map_err(|failure| match failure {
            Failure::EgressError(_) | Failure::Request(_) | Failure::Redirect(_) => {
                LlmError::refused(failure.to_string())
            }
            _ => LlmError::connection(failure.to_string()),
        })?;
        if !answer.status.is_success() {
            let text = answer.error_text();
            return Err(LlmError::status("Cohere", answer.status, &text, answer.retry_after()));
        }
        Ok(answer.json())
    }
}

#[async_trait]
impl Kind for CohereReranker {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let documents = Document::read_list(input.get("documents"))?;
        if documents.is_empty() {
            return Ok(Arc::new(json!({"documents": []})));
        }
        call.run.outside().await?;
        let ranking = self.rank(call, &input["query"], &documents).await.map_err(NodeError::from)?;
        let ranked = ranking["results"].as_array().into_iter().flatten().filter_map(|result| {
            let index = usize::try_from(result["index"].as_u64()?).ok()?;
            let score = result["relevance_score"].as_f64()?;
            let document = documents.get(index)?.clone();
            (score > self.threshold).then_some(Document { score: Some(score), ..document })
        });
        let ranked: Vec<Document> = ranked.take(self.top_k as usize).collect();
        Ok(Arc::new(json!({"documents": Document::list(ranked)})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a CohereReranker")?;
        admission.required("query", TEXT)?;
        admission.set("documents", Document::list(Document::read_list(input.get("documents"))?));
        Ok(admission.done())
    }
}
