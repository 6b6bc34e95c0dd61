//! Cohere's embed API, version 2.

use super::{
    Embedder,
    embedder::{Embedded, Protocol, Wire, vector},
};
use serde_json::{Value, json};

pub(super) const PROTOCOL: Protocol = Protocol { request, answer, takes_one: |_| false };

fn request(embedder: &Embedder, texts: &[String]) -> Wire {
    let mut body = json!({
        "model": embedder.model,
        "texts": texts,
        "input_type": embedder.input_type,
        "embedding_types": ["float"],
        "truncate": embedder.truncate.as_deref().unwrap_or("NONE"),
    });
    if let Some(dimensions) = embedder.dimensions {
        body["output_dimension"] = dimensions.into();
    }
    Wire {
        url: format!("{}/v2/embed", embedder.url),
        headers: vec![embedder.bearer()],
        body: body.to_string(),
    }
}

fn answer(answer: &Value) -> Option<Embedded> {
    let vectors = answer["embeddings"]["float"].as_array()?;
    let tokens = answer["meta"]["billed_units"]["input_tokens"].as_u64().unwrap_or(0);
    Some(Embedded {
        vectors: vectors.iter().map(vector).collect::<Option<_>>()?,
        model: None,
        prompt_tokens: tokens,
        total_tokens: tokens,
    })
}
