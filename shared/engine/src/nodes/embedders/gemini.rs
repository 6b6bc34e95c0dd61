//! The batch embeddings API of Gemini. Its answers do not have the number of tokens.

use super::{
    Embedder,
    embedder::{Embedded, Protocol, Wire, vector},
};
use serde_json::{Value, json};

pub(super) const PROTOCOL: Protocol = Protocol { request, answer, takes_one: |_| false };

fn request(embedder: &Embedder, texts: &[String]) -> Wire {
    let model = format!("models/{}", embedder.model);
    let task = match embedder.input_type.as_str() {
        "search_document" => Some("RETRIEVAL_DOCUMENT"),
        "search_query" => Some("RETRIEVAL_QUERY"),
        "classification" => Some("CLASSIFICATION"),
        "clustering" => Some("CLUSTERING"),
        _ => None,
    };
    let one = |text: &String| {
        let mut request = json!({"model": model, "content": {"parts": [{"text": text}]}});
        if let Some(task) = task {
            request["taskType"] = task.into();
        }
        if let Some(dimensions) = embedder.dimensions {
            request["outputDimensionality"] = dimensions.into();
        }
        request
    };
    Wire {
        url: format!("{}/v1beta/{model}:batchEmbedContents", embedder.url),
        headers: vec![("x-goog-api-key", embedder.key().to_owned())],
        body: json!({"requests": texts.iter().map(one).collect::<Vec<_>>()}).to_string(),
    }
}

fn answer(answer: &Value) -> Option<Embedded> {
    let vectors = answer["embeddings"].as_array()?.iter().map(|item| vector(&item["values"]));
    Some(Embedded { vectors: vectors.collect::<Option<_>>()?, ..Embedded::default() })
}
