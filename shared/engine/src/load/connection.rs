//! Connections: the URL of a node's service, and its credentials.

use super::{Fields, meant};
use serde_json::{Map, Value};
use std::fmt;

/// A validated connection of a workflow file.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The last part of its type: `OpenAI`, `HttpApiKey`, `Http`.
    pub(crate) class: String,
    pub(crate) url: Option<String>,
    pub(crate) api_key: Option<String>,
    /// All fields of the connection in the file.
    pub(crate) fields: Map<String, Value>,
}

/// Omits fields that may be secret.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("class", &self.class)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The connection classes of the reference.
#[rustfmt::skip]
const CLASSES: &[&str] = &[
    "AI21", "AWS", "AWSNeptune", "AWSOpenSearch", "AWSRedshift", "AWSTextract", "Anthropic", "Anyscale",
    "ApacheAGE", "AtlasCloud", "AzureAI", "Browserbase", "Cerebras", "Chroma", "Cohere", "Composio",
    "CuaDesktop", "Databricks", "DatabricksSQL", "Daytona", "DeepInfra", "DeepSeek", "Deepgram", "Dynamiq",
    "E2B", "Elasticsearch", "ElevenLabs", "Exa", "Firecrawl", "FireworksAI", "Gemini", "GoogleCloud",
    "GoogleDocumentAI", "Groq", "Http", "HttpApiKey", "HuggingFace", "Jina", "Lakera", "Linkup", "MCPSse",
    "MCPStdio", "MCPStreamableHTTP", "Milvus", "MiniMax", "Mistral", "MistralOCR", "MySQL", "Neo4j",
    "Novita", "NvidiaNIM", "Ollama", "OpenAI", "OpenRouter", "Perplexity", "Pinecone", "PipedreamOAuth2",
    "PostgreSQL", "Qdrant", "RedisConnection", "Replicate", "SambaNova", "ScaleSerp", "Serply", "Snowflake",
    "Stagehand", "SteelBrowser", "Tavily", "TogetherAI", "Turbopuffer", "TypeSafe", "Unstructured",
    "VertexAI", "WatsonX", "Weaviate", "Whisper", "ZenRows", "xAI",
];

impl Connection {
    pub(crate) fn read(fields: Fields<'_>, what: &str) -> Option<Self> {
        let Some(path) = fields.text("type") else {
            if fields.get("type").is_none() {
                fields.mistake(fields.yaml.spot, format!("{what} lacks its `type`"));
            }
            return None;
        };
        let class = path.rsplit('.').next().unwrap_or(path).to_owned();
        if !path.starts_with("dynamiq.connections.") || !CLASSES.contains(&class.as_str()) {
            let near = meant(&class, CLASSES).replace("did you mean `", "did you mean `dynamiq.connections.");
            fields.mistake(fields.spot("type"), format!("`{path}` is not a connection type{near}"));
            return None;
        }
        let url = fields.text("url").map(str::to_owned);
        let api_key = fields.text("api_key").map(str::to_owned);
        let Value::Object(fields) = fields.yaml.to_json() else { return None };
        Some(Self { class, url, api_key, fields })
    }

    /// A text field, unless it is absent or empty.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str().filter(|text| !text.is_empty())
    }
}
