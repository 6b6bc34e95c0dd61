//! Amazon Bedrock's `InvokeModel`, with the request and response bodies of Amazon's Titan and of Cohere's models.

use super::{
    Embedder,
    embedder::{Access, Embedded, Protocol, Wire, vector},
};
use crate::llm::path_segment;
use serde_json::{Value, json};

pub(super) const PROTOCOL: Protocol = Protocol { request, answer, takes_one: |model| !is_cohere(model) };

fn is_cohere(model: &str) -> bool {
    model.contains("cohere")
}

fn request(embedder: &Embedder, texts: &[String]) -> Wire {
    let body = if is_cohere(&embedder.model) {
        let mut body = json!({"texts": texts, "input_type": embedder.input_type});
        if let Some(truncate) = &embedder.truncate {
            body["truncate"] = truncate.as_str().into();
        }
        body
    } else {
        json!({"inputText": texts.first()})
    };
    let body = body.to_string();
    let path = format!("/model/{}/invoke", path_segment(&embedder.model));
    let headers = match &embedder.access {
        Access::Signed(keys) => keys.sign(&embedder.url, &path, &body),
        Access::Key(_) => vec![embedder.bearer()],
    };
    Wire { url: format!("{}{path}", embedder.url), headers, body }
}

fn answer(answer: &Value) -> Option<Embedded> {
    let tokens = answer["inputTextTokenCount"].as_u64().unwrap_or(0);
    let vectors = match (&answer["embedding"], &answer["embeddings"]) {
        (single @ Value::Array(_), _) => vec![vector(single)?],
        (_, Value::Array(vectors)) => vectors.iter().map(vector).collect::<Option<_>>()?,
        (_, by_type) => by_type["float"].as_array()?.iter().map(vector).collect::<Option<_>>()?,
    };
    Some(Embedded { vectors, model: None, prompt_tokens: tokens, total_tokens: tokens })
}
