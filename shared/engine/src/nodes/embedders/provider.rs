//! The providers of embeddings.

use super::{
    bedrock, cohere,
    embedder::{Access, Protocol},
    gemini, openai,
};
use crate::{
    llm::Keys,
    load::{Connection, Fields, Loading},
    nodes::connection::Setting,
};

/// What distinguishes one provider from another.
#[derive(Debug)]
pub(super) struct Provider {
    /// The name in error messages.
    pub(super) name: &'static str,
    /// The class of its connections.
    pub(super) connection: &'static str,
    pub(super) protocol: Protocol,
    /// The default model.
    pub(super) model: &'static str,
    /// The prefix of models' names in workflow files, which calls omit.
    pub(super) prefix: &'static str,
    /// The settings of its URL and key. `None` for AWS: the region determines the URL, and requests are signed.
    pub(super) place: Option<(Setting, Setting)>,
    /// Whether requests name the purpose of the vectors (`input_type`).
    pub(super) asks_purpose: bool,
    /// Whether a text that is too long is cut before it is sent, instead of by the provider.
    pub(super) cuts: bool,
}

const fn aws(key: &'static str, variable: &'static str) -> Setting {
    Setting { key, variable, default: None }
}

const fn url(variable: &'static str, default: &'static str) -> Setting {
    Setting { key: "url", variable, default: Some(default) }
}

const fn key(variable: &'static str) -> Setting {
    Setting { key: "api_key", variable, default: None }
}

impl Provider {
    /// The provider's URL and credentials.
    pub(super) fn place(
        &self,
        connection: Option<&Connection>,
        fields: Fields<'_>,
        loading: &Loading<'_>,
    ) -> Option<(String, Access)> {
        let setting = |setting: Setting| setting.of(connection, fields, loading);
        let Some((url, key)) = self.place else {
            let access_key_id = setting(aws("access_key_id", "AWS_ACCESS_KEY_ID"));
            let secret_access_key = setting(aws("secret_access_key", "AWS_SECRET_ACCESS_KEY"));
            let region = setting(aws("region", "AWS_DEFAULT_REGION"))?;
            let url = fields.text("aws_bedrock_runtime_endpoint").map(str::to_owned);
            let keys = Keys {
                access_key_id: access_key_id?,
                secret_access_key: secret_access_key?,
                session_token: connection
                    .and_then(|connection| connection.text("session_token"))
                    .map(str::to_owned),
                region,
            };
            let url = url.unwrap_or_else(|| format!("https://bedrock-runtime.{}.amazonaws.com", keys.region));
            return Some((url, Access::Signed(keys)));
        };
        let (url, key) = (setting(url), setting(key));
        Some((url?, Access::Key(key?)))
    }
}

pub(super) const BEDROCK: Provider = Provider {
    name: "Bedrock",
    connection: "AWS",
    protocol: bedrock::PROTOCOL,
    model: "amazon.titan-embed-text-v1",
    prefix: "bedrock/",
    place: None,
    asks_purpose: false,
    cuts: true,
};

pub(super) const OPENAI: Provider = Provider {
    name: "OpenAI",
    connection: "OpenAI",
    protocol: openai::PROTOCOL,
    model: "text-embedding-3-small",
    prefix: "openai/",
    place: Some((url("OPENAI_URL", "https://api.openai.com/v1"), key("OPENAI_API_KEY"))),
    asks_purpose: false,
    cuts: true,
};

pub(super) const MISTRAL: Provider = Provider {
    name: "Mistral",
    connection: "Mistral",
    protocol: openai::PROTOCOL,
    model: "mistral-embed",
    prefix: "mistral/",
    place: Some((url("MISTRAL_API_BASE", "https://api.mistral.ai/v1"), key("MISTRAL_API_KEY"))),
    asks_purpose: false,
    cuts: true,
};

pub(super) const COHERE: Provider = Provider {
    name: "Cohere",
    connection: "Cohere",
    protocol: cohere::PROTOCOL,
    model: "embed-v4.0",
    prefix: "cohere/",
    place: Some((url("COHERE_API_BASE", "https://api.cohere.com"), key("COHERE_API_KEY"))),
    asks_purpose: true,
    cuts: false,
};

pub(super) const GEMINI: Provider = Provider {
    name: "Gemini",
    connection: "Gemini",
    protocol: gemini::PROTOCOL,
    model: "gemini-embedding-exp-03-07",
    prefix: "gemini/",
    place: Some((url("GEMINI_API_BASE", "https://generativelanguage.googleapis.com"), key("GEMINI_API_KEY"))),
    asks_purpose: true,
    cuts: true,
};
