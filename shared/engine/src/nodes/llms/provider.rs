//! The providers, and what tells one from another.

use crate::llm::Protocol;

/// A provider.
pub(super) struct Provider {
    /// The class of its nodes, as `Registered` has it.
    pub(super) class: &'static str,
    /// The name of a node that is not given one.
    pub(super) node_name: &'static str,
    /// For messages.
    pub(super) name: &'static str,
    /// The class of its connections.
    pub(super) connection: &'static str,
    pub(super) protocol: Protocol,
    /// What models are named with in files, and not in calls.
    pub(super) prefix: &'static str,
    /// Where it is, unless the connection or the environment variable says so.
    pub(super) url: Option<(&'static str, &'static str)>,
    /// The environment variable with its key, for connections without one.
    pub(super) key: Option<&'static str>,
    /// Whether it has the models that take `max_completion_tokens` and `reasoning_effort`.
    pub(super) reasons: bool,
}

pub(super) const OPENAI: Provider = Provider {
    class: "llms.OpenAI",
    node_name: "LLM",
    name: "OpenAI",
    connection: "OpenAI",
    protocol: Protocol::OpenAi,
    prefix: "openai/",
    url: Some(("OPENAI_URL", "https://api.openai.com/v1")),
    key: Some("OPENAI_API_KEY"),
    reasons: true,
};

pub(super) const CUSTOM: Provider = Provider {
    class: "llms.CustomLLM",
    node_name: "CustomLLM",
    name: "the model's server",
    connection: "HttpApiKey",
    protocol: Protocol::OpenAi,
    prefix: "openai/",
    url: None,
    key: None,
    reasons: false,
};
