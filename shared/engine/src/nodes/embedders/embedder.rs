//! What all embedders have in common: batches, retries, usage, and the preparation of texts.

use super::Provider;
use crate::{
    document::Document,
    flow::{Call, Halt, NodeError},
    http_client::{self, Answer, Failure},
    llm::{Keys, LlmError},
    load::{Fields, Loading},
    nodes::connection::connection,
    python_text,
    services::CallSize,
};
use runyard_runs::ModelUsage;
use serde_json::{Map, Value, json};
use std::{fmt, time::Duration};

/// Retries of a call within one attempt of a node, as in the reference's client.
const CLIENT_RETRIES: u32 = 2;
const INITIAL_BACKOFF: Duration = Duration::from_millis(500);
/// A longer `retry-after` is ignored, in favor of the usual backoff.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);
/// Timeout until an answer begins, and between its pieces; the same as in the reference's client.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// Limit on the characters of a text: 8,192 tokens of 4 characters.
const MAX_CHARACTERS: usize = 4 * 8192;
/// Replaces the omitted middle of a text.
const CUT: &str = "...[truncated for embedding]...";

/// The API of a provider.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) request: fn(&Embedder, &[String]) -> Wire,
    /// Parses an answer; `None` if it is invalid.
    pub(super) answer: fn(&Value) -> Option<Embedded>,
    /// Whether a model takes only one text per call.
    pub(super) takes_one: fn(&str) -> bool,
}

/// A request.
pub(super) struct Wire {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body, as JSON.
    pub(super) body: String,
}

/// The vectors of texts, in the same order.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    pub(super) vectors: Vec<Vec<f64>>,
    /// The model's name, if the answer has it.
    pub(super) model: Option<String>,
    pub(super) prompt_tokens: u64,
    pub(super) total_tokens: u64,
}

/// How requests are authenticated.
pub(super) enum Access {
    Key(String),
    /// Requests are signed with these AWS keys.
    Signed(Keys),
}

/// A model that computes vectors.
pub(super) struct Embedder {
    pub(super) provider: &'static Provider,
    pub(super) url: String,
    pub(super) access: Access,
    pub(super) model: String,
    pub(super) dimensions: Option<u32>,
    /// The purpose of the vectors: `search_query`, `search_document`, `classification`, `clustering`.
    pub(super) input_type: String,
    /// Where the provider truncates a text that is too long: `NONE`, `START`, `END`.
    pub(super) truncate: Option<String>,
    /// Limit on the texts of one call.
    batch: usize,
    /// Fields of a document's metadata that are embedded before its content.
    metadata_fields: Vec<String>,
}

/// Omits the key.
impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

impl Embedder {
    /// `purpose` is the default `input_type`.
    pub(super) fn read(
        provider: &'static Provider,
        purpose: &str,
        fields: Fields<'_>,
        loading: &Loading<'_>,
    ) -> Option<Self> {
        let connection = connection(&[provider.connection], fields, loading)?;
        let (url, access) = provider.place(connection.as_ref(), fields, loading)?;
        let model = fields.text("model").unwrap_or(provider.model);
        let batch = fields.count("batch_size").filter(|size| *size > 0).unwrap_or(32) as usize;
        let purpose = fields.text("input_type").filter(|_| provider.asks_purpose).unwrap_or(purpose);
        let metadata_fields = fields.json("meta_fields_to_embed").unwrap_or_default();
        let metadata_fields = metadata_fields.as_array().map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            provider,
            url: url.trim_end_matches('/').to_owned(),
            access,
            model: model.strip_prefix(provider.prefix).unwrap_or(model).to_owned(),
            dimensions: fields.count("dimensions").filter(|dimensions| *dimensions > 0),
            input_type: purpose.to_owned(),
            truncate: fields.text("truncate").map(str::to_owned),
            batch: if (provider.protocol.takes_one)(model) { 1 } else { batch },
            metadata_fields: metadata_fields
                .iter()
                .filter_map(|field| field.as_str().map(str::to_owned))
                .collect(),
        })
    }

    /// The header with the key.
    pub(super) fn bearer(&self) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.key()))
    }

    /// The key; empty if requests are signed.
    pub(super) fn key(&self) -> &str {
        match &self.access {
            Access::Key(key) => key,
            Access::Signed(_) => "",
        }
    }

    /// Computes the vector of a text.
    pub(super) async fn text(&self, call: Call<'_>, text: &str) -> Result<Vec<f64>, Halt> {
        let text = self.cut(text.replace('\n', " "));
        let mut embedded = self.batch(call, &[text]).await?;
        embedded.vectors.pop().ok_or_else(|| self.invalid_answer("no vector").into())
    }

    /// Sets the vector of each document; returns `{model, usage}` of all calls, or `{}` without documents.
    pub(super) async fn documents(&self, call: Call<'_>, documents: &mut [Document]) -> Result<Value, Halt> {
        let texts: Vec<String> = documents.iter().map(|document| self.text_of(document)).collect();
        let (mut model, mut prompt_tokens, mut total_tokens) = (None, 0, 0);
        for (documents, texts) in documents.chunks_mut(self.batch).zip(texts.chunks(self.batch)) {
            let embedded = self.batch(call, texts).await?;
            for (document, vector) in documents.iter_mut().zip(embedded.vectors) {
                document.embedding = Some(vector);
            }
            model = model.or(embedded.model);
            prompt_tokens += embedded.prompt_tokens;
            total_tokens += embedded.total_tokens;
        }
        if documents.is_empty() {
            return Ok(json!({}));
        }
        let usage = json!({
            "completion_tokens": 0,
            "prompt_tokens": prompt_tokens,
            "total_tokens": total_tokens,
            "completion_tokens_details": null,
            "prompt_tokens_details": null,
        });
        Ok(json!({"model": model.as_deref().unwrap_or(&self.model), "usage": usage}))
    }

    fn text_of(&self, document: &Document) -> String {
        let empty = Map::new();
        let metadata = document.metadata.as_ref().unwrap_or(&empty);
        let values = self.metadata_fields.iter().filter_map(|field| metadata.get(field));
        let mut lines: Vec<String> = values.filter(|value| !value.is_null()).map(python_text::str).collect();
        lines.push(document.content.clone());
        self.cut(lines.join("\n"))
    }

    /// Omits the middle of a text that is too long.
    fn cut(&self, text: String) -> String {
        if !self.provider.cuts || text.len() <= MAX_CHARACTERS {
            return text;
        }
        let characters: Vec<char> = text.chars().collect();
        if characters.len() <= MAX_CHARACTERS {
            return text;
        }
        let half = (MAX_CHARACTERS - CUT.len()) / 2;
        let (first, last) = (&characters[..half], &characters[characters.len() - half..]);
        first.iter().copied().chain(CUT.chars()).chain(last.iter().copied()).collect()
    }

    async fn batch(&self, call: Call<'_>, texts: &[String]) -> Result<Embedded, Halt> {
        let price = call.services.price(self.provider.name, &self.model);
        let size = CallSize::of(texts.iter().map(|text| text.len() as u64).sum(), None);
        for attempt in 0.. {
            // Held until the call has ended.
            let _reserved = call.services.reserve(call.run, &self.model, price, size).await?;
            call.run.outside().await?;
            let error = match self.ask(call, texts).await {
                Ok(embedded) => {
                    let mut usage =
                        ModelUsage { input_tokens: embedded.prompt_tokens, ..ModelUsage::default() };
                    usage.cost_nanodollars = price.map(|price| price.cost(&usage));
                    call.run.used(&self.model, &usage);
                    return self.check(embedded, texts.len()).map_err(Halt::from);
                }
                Err(error) => {
                    LlmError { message: call.services.secrets.hide_in_text(error.message), ..error }
                }
            };
            if attempt >= CLIENT_RETRIES || !error.client_retries {
                return Err(NodeError::from(error).into());
            }
            let wait = match error.retry_after {
                Some(retry_after) if retry_after <= MAX_RETRY_AFTER => retry_after,
                _ => INITIAL_BACKOFF.saturating_mul(1 << attempt),
            };
            tracing::debug!(model = %self.model, attempt, error = %error.message, "retrying embedding call");
            tokio::time::sleep(wait).await;
        }
        Err(Halt::Stopped)
    }

    async fn ask(&self, call: Call<'_>, texts: &[String]) -> Result<Embedded, LlmError> {
        let wire = (self.provider.protocol.request)(self, texts);
        let answer = http_client::call(&call.services.http, &wire.url, IDLE_TIMEOUT, |client, url| {
            let request = client.post(url).header("content-type", "application/json").body(wire.body);
            wire.headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
        });
        let answer: Answer = answer.await.map_err(|failure| match failure {
            Failure::EgressError(_) | Failure::Request(_) | Failure::Redirect(_) => {
                LlmError::refused(failure.to_string())
            }
            _ => LlmError::connection(failure.to_string()),
        })?;
        if !answer.status.is_success() {
            let (name, text) = (self.provider.name, answer.error_text());
            return Err(LlmError::status(name, answer.status, &text, answer.retry_after()));
        }
        (self.provider.protocol.answer)(&answer.json())
            .ok_or_else(|| LlmError::broken(format!("{} answered without vectors", self.provider.name)))
    }

    fn check(&self, embedded: Embedded, texts: usize) -> Result<Embedded, NodeError> {
        if embedded.vectors.len() != texts {
            return Err(self.invalid_answer(&format!("{} vectors for {texts} texts", embedded.vectors.len())));
        }
        match embedded.vectors.iter().position(Vec::is_empty) {
            Some(index) => Err(self.invalid_answer(&format!("an empty vector for text {index}"))),
            None => Ok(embedded),
        }
    }

    fn invalid_answer(&self, what: &str) -> NodeError {
        NodeError::new("ValueError", format!("{} answered with {what}", self.provider.name))
    }
}

/// Reads a list of numbers.
pub(super) fn vector(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}
