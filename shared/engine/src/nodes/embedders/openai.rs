//! The embeddings API of `OpenAI`, which other providers have as well.

use super::{
    Embedder,
    embedder::{Embedded, Protocol, Wire, vector},
};
use serde_json::{Value, json};

pub(super) const PROTOCOL: Protocol = Protocol { request, answer, takes_one: |_| false };

fn request(embedder: &Embedder, texts: &[String]) -> Wire {
    let mut body = json!({"model": embedder.model, "input": texts});
    if embedder.provider.name == "OpenAI" {
        body["encoding_format"] = "float".into();
    }
    if let Some(dimensions) = embedder.dimensions {
        body["dimensions"] = dimensions.into();
    }
    Wire {
        url: format!("{}/embeddings", embedder.url),
        headers: vec![embedder.bearer()],
        body: body.to_string(),
    }
}

fn answer(answer: &Value) -> Option<Embedded> {
    let data = answer["data"].as_array()?;
    let usage = &answer["usage"];
    Some(Embedded {
        vectors: data.iter().map(|item| vector(&item["embedding"])).collect::<Option<_>>()?,
        model: answer["model"].as_str().map(str::to_owned),
        prompt_tokens: usage["prompt_tokens"].as_u64().unwrap_or(0),
        total_tokens: usage["total_tokens"].as_u64().unwrap_or(0),
    })
}
