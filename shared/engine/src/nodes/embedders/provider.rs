//! The providers of embeddings.

use super::{cohere, embedder::Protocol, gemini, openai};
use crate::nodes::connection::Setting;

/// What tells one provider from another.
#[derive(Debug)]
pub(super) struct Provider {
    /// For messages.
    pub(super) name: &'static str,
    /// The class of its connections.
    pub(super) connection: &'static str,
    pub(super) protocol: Protocol,
    /// The model, unless the file names one.
    pub(super) model: &'static str,
    /// What models are named with in files, and not in calls.
    pub(super) prefix: &'static str,
    pub(super) url: Setting,
    pub(super) key: Setting,
    /// Whether it wants to know what the vectors are for (`input_type`).
    pub(super) asks_purpose: bool,
    /// Whether a text that is too long is cut here; else the provider says what it makes of it.
    pub(super) cuts: bool,
}

const fn url(variable: &'static str, default: &'static str) -> Setting {
    Setting { key: "url", variable, default: Some(default) }
}

const fn key(variable: &'static str) -> Setting {
    Setting { key: "api_key", variable, default: None }
}

pub(super) const OPENAI: Provider = Provider {
    name: "OpenAI",
    connection: "OpenAI",
    protocol: openai::PROTOCOL,
    model: "text-embedding-3-small",
    prefix: "openai/",
    url: url("OPENAI_URL", "https://api.openai.com/v1"),
    key: key("OPENAI_API_KEY"),
    asks_purpose: false,
    cuts: true,
};

pub(super) const MISTRAL: Provider = Provider {
    name: "Mistral",
    connection: "Mistral",
    protocol: openai::PROTOCOL,
    model: "mistral-embed",
    prefix: "mistral/",
    url: url("MISTRAL_API_BASE", "https://api.mistral.ai/v1"),
    key: key("MISTRAL_API_KEY"),
    asks_purpose: false,
    cuts: true,
};

pub(super) const COHERE: Provider = Provider {
    name: "Cohere",
    connection: "Cohere",
    protocol: cohere::PROTOCOL,
    model: "embed-v4.0",
    prefix: "cohere/",
    url: url("COHERE_API_BASE", "https://api.cohere.com"),
    key: key("COHERE_API_KEY"),
    asks_purpose: true,
    cuts: false,
};

pub(super) const GEMINI: Provider = Provider {
    name: "Gemini",
    connection: "Gemini",
    protocol: gemini::PROTOCOL,
    model: "gemini-embedding-exp-03-07",
    prefix: "gemini/",
    url: url("GEMINI_API_BASE", "https://generativelanguage.googleapis.com"),
    key: key("GEMINI_API_KEY"),
    asks_purpose: true,
    cuts: true,
};
