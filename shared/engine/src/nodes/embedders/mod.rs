//! Embedders: nodes that turn texts and documents into vectors. Each provider is an entry of a table, each protocol a
//! file.

mod bedrock;
mod cohere;
mod documents;
mod embedder;
mod gemini;
mod openai;
mod provider;
mod text;

use super::Registered;
use embedder::Embedder;
use provider::{BEDROCK, COHERE, GEMINI, MISTRAL, OPENAI, Provider};

pub(super) const NODES: &[&Registered] = &[
    &BEDROCK_DOCUMENTS,
    &BEDROCK_TEXT,
    &COHERE_DOCUMENTS,
    &COHERE_TEXT,
    &GEMINI_DOCUMENTS,
    &GEMINI_TEXT,
    &MISTRAL_DOCUMENTS,
    &MISTRAL_TEXT,
    &OPENAI_DOCUMENTS,
    &OPENAI_TEXT,
];

const BEDROCK_DOCUMENTS: Registered = Registered {
    class: "embedders.BedrockDocumentEmbedder",
    name: Some("bedrock-document-embedder"),
    timeout: None,
    build: |_, fields, loading| documents::build(&BEDROCK, fields, loading),
};

const BEDROCK_TEXT: Registered = Registered {
    class: "embedders.BedrockTextEmbedder",
    name: Some("bedrock-text-embedder"),
    timeout: None,
    build: |_, fields, loading| text::build(&BEDROCK, fields, loading),
};

const COHERE_DOCUMENTS: Registered = Registered {
    class: "embedders.CohereDocumentEmbedder",
    name: Some("cohere-document-embedder"),
    timeout: None,
    build: |_, fields, loading| documents::build(&COHERE, fields, loading),
};

const COHERE_TEXT: Registered = Registered {
    class: "embedders.CohereTextEmbedder",
    name: Some("cohere-text-embedder"),
    timeout: None,
    build: |_, fields, loading| text::build(&COHERE, fields, loading),
};

const GEMINI_DOCUMENTS: Registered = Registered {
    class: "embedders.GeminiDocumentEmbedder",
    name: Some("gemini-document-embedder"),
    timeout: None,
    build: |_, fields, loading| documents::build(&GEMINI, fields, loading),
};

const GEMINI_TEXT: Registered = Registered {
    class: "embedders.GeminiTextEmbedder",
    name: Some("gemini-text-embedder"),
    timeout: None,
    build: |_, fields, loading| text::build(&GEMINI, fields, loading),
};

const MISTRAL_DOCUMENTS: Registered = Registered {
    class: "embedders.MistralDocumentEmbedder",
    name: Some("mistral-document-embedder"),
    timeout: None,
    build: |_, fields, loading| documents::build(&MISTRAL, fields, loading),
};

const MISTRAL_TEXT: Registered = Registered {
    class: "embedders.MistralTextEmbedder",
    name: Some("mistral-text-embedder"),
    timeout: None,
    build: |_, fields, loading| text::build(&MISTRAL, fields, loading),
};

const OPENAI_DOCUMENTS: Registered = Registered {
    class: "embedders.OpenAIDocumentEmbedder",
    name: Some("openai-document-embedder"),
    timeout: None,
    build: |_, fields, loading| documents::build(&OPENAI, fields, loading),
};

const OPENAI_TEXT: Registered = Registered {
    class: "embedders.OpenAITextEmbedder",
    name: Some("openai-text-embedder"),
    timeout: None,
    build: |_, fields, loading| text::build(&OPENAI, fields, loading),
};
