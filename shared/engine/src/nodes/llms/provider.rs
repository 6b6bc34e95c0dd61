//! The table of providers.

use crate::llm::{Dialect, OPENAI_DIALECT, UsageRequest};

/// What distinguishes a provider from the others.
pub(super) struct Provider {
    /// The class of its nodes, as in `Registered`.
    pub(super) class: &'static str,
    /// The default name of a node.
    pub(super) node_name: &'static str,
    /// The name in error messages and in the table of prices.
    pub(super) name: &'static str,
    /// The class of its connections.
    pub(super) connection: &'static str,
    pub(super) speaks: ApiKind,
    /// Prefixes of model names in files, which are not sent to the provider.
    pub(super) prefixes: &'static [&'static str],
    pub(super) place: BaseUrl,
    /// The environment variable with the key, if the connection has none.
    pub(super) key: Option<&'static str>,
    pub(super) reasons: Reasoning,
}

/// The protocol of a provider.
#[derive(Clone, Copy)]
pub(super) enum ApiKind {
    OpenAi(Dialect),
    /// Chat completions with the deployment in the URL.
    Azure,
    /// Chat completions through a router, with the provider behind it in the model name.
    HuggingFace,
    Anthropic,
    Gemini,
    Vertex,
    Bedrock,
    Cohere,
}

/// Source of the base URL.
#[derive(Clone, Copy)]
pub(super) enum BaseUrl {
    /// Always this URL.
    Fixed(&'static str),
    /// The connection, else this environment variable, else this URL.
    Default(Option<&'static str>, &'static str),
    /// The connection, else this environment variable.
    Given(Option<&'static str>),
}

/// Which models of a provider are reasoning models with special parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reasoning {
    /// None, or none that the name identifies.
    Not,
    /// Models of `OpenAI` that another provider serves.
    Plainly,
    /// Models of `OpenAI`, with the effort of the node or its default.
    WithEffort,
}

/// Dialect of providers that the reference does not call through `OpenAI`'s client.
pub(super) const NON_OPENAI_CLIENT_DIALECT: Dialect = Dialect { says_stream: true, ..OPENAI_DIALECT };

const BASE: Provider = Provider {
    class: "",
    node_name: "LLM",
    name: "",
    connection: "",
    speaks: ApiKind::OpenAi(OPENAI_DIALECT),
    prefixes: &[],
    place: BaseUrl::Fixed(""),
    key: None,
    reasons: Reasoning::Not,
};

pub(super) const OPENAI: Provider = Provider {
    class: "llms.OpenAI",
    name: "OpenAI",
    connection: "OpenAI",
    prefixes: &["openai/"],
    place: BaseUrl::Default(Some("OPENAI_URL"), "https://api.openai.com/v1"),
    key: Some("OPENAI_API_KEY"),
    reasons: Reasoning::WithEffort,
    ..BASE
};

pub(super) const CUSTOM: Provider = Provider {
    class: "llms.CustomLLM",
    node_name: "CustomLLM",
    name: "the model's server",
    connection: "HttpApiKey",
    // Self-hosted servers: prefixes such as `hosted_vllm/` only say that the API is compatible with `OpenAI`.
    prefixes: &[
        "openai/",
        "custom_openai/",
        "openai_like/",
        "hosted_vllm/",
        "lm_studio/",
        "llamafile/",
        "litellm_proxy/",
    ],
    place: BaseUrl::Given(None),
    reasons: Reasoning::Plainly,
    ..BASE
};

pub(super) const AI21: Provider = Provider {
    class: "llms.AI21",
    name: "AI21",
    connection: "AI21",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["thinking", "top_p", "presence_penalty", "frequency_penalty"],
        usage: UsageRequest::Not,
        ..OPENAI_DIALECT
    }),
    prefixes: &["ai21/"],
    place: BaseUrl::Fixed("https://api.ai21.com/studio/v1"),
    key: Some("AI21_API_KEY"),
    ..BASE
};

pub(super) const ANYSCALE: Provider = Provider {
    class: "llms.Anyscale",
    name: "Anyscale",
    connection: "Anyscale",
    prefixes: &["anyscale/"],
    place: BaseUrl::Fixed("https://api.endpoints.anyscale.com/v1"),
    key: Some("ANYSCALE_API_KEY"),
    ..BASE
};

pub(super) const ATLAS_CLOUD: Provider = Provider {
    class: "llms.AtlasCloud",
    name: "Atlas Cloud",
    connection: "AtlasCloud",
    prefixes: &["openai/"],
    place: BaseUrl::Default(Some("ATLASCLOUD_API_BASE"), "https://api.atlascloud.ai/v1"),
    key: Some("ATLASCLOUD_API_KEY"),
    reasons: Reasoning::Plainly,
    ..BASE
};

pub(super) const AZURE: Provider = Provider {
    class: "llms.AzureAI",
    name: "Azure",
    connection: "AzureAI",
    speaks: ApiKind::Azure,
    prefixes: &["azure/"],
    place: BaseUrl::Given(Some("AZURE_URL")),
    key: Some("AZURE_API_KEY"),
    reasons: Reasoning::Plainly,
    ..BASE
};

pub(super) const CEREBRAS: Provider = Provider {
    class: "llms.Cerebras",
    name: "Cerebras",
    connection: "Cerebras",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["thinking", "presence_penalty", "frequency_penalty"],
        ..OPENAI_DIALECT
    }),
    prefixes: &["cerebras/"],
    place: BaseUrl::Fixed("https://api.cerebras.ai/v1"),
    key: Some("CEREBRAS_API_KEY"),
    ..BASE
};

pub(super) const DATABRICKS: Provider = Provider {
    class: "llms.Databricks",
    name: "Databricks",
    connection: "Databricks",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["seed", "presence_penalty", "frequency_penalty"],
        ..NON_OPENAI_CLIENT_DIALECT
    }),
    prefixes: &["databricks/"],
    place: BaseUrl::Given(Some("DATABRICKS_API_BASE")),
    key: Some("DATABRICKS_API_KEY"),
    ..BASE
};

pub(super) const DEEP_INFRA: Provider = Provider {
    class: "llms.DeepInfra",
    name: "DeepInfra",
    connection: "DeepInfra",
    speaks: ApiKind::OpenAi(Dialect { unknown: &["thinking", "seed", "tool_choice"], ..OPENAI_DIALECT }),
    prefixes: &["deepinfra/"],
    place: BaseUrl::Fixed("https://api.deepinfra.com/v1/openai"),
    key: Some("DEEPINFRA_API_KEY"),
    ..BASE
};

pub(super) const DEEP_SEEK: Provider = Provider {
    class: "llms.DeepSeek",
    name: "DeepSeek",
    connection: "DeepSeek",
    speaks: ApiKind::OpenAi(Dialect { unknown: &[], flat: true, ..NON_OPENAI_CLIENT_DIALECT }),
    prefixes: &["deepseek/"],
    place: BaseUrl::Fixed("https://api.deepseek.com/beta"),
    key: Some("DEEPSEEK_API_KEY"),
    ..BASE
};

pub(super) const FIREWORKS: Provider = Provider {
    class: "llms.FireworksAI",
    name: "Fireworks",
    connection: "FireworksAI",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["thinking", "seed"],
        any_tool: "any",
        ..NON_OPENAI_CLIENT_DIALECT
    }),
    prefixes: &["fireworks_ai/"],
    place: BaseUrl::Fixed("https://api.fireworks.ai/inference/v1"),
    key: Some("FIREWORKS_AI_API_KEY"),
    ..BASE
};

pub(super) const GROQ: Provider = Provider {
    class: "llms.Groq",
    name: "Groq",
    connection: "Groq",
    speaks: ApiKind::OpenAi(NON_OPENAI_CLIENT_DIALECT),
    prefixes: &["groq/"],
    place: BaseUrl::Fixed("https://api.groq.com/openai/v1"),
    key: Some("GROQ_API_KEY"),
    ..BASE
};

pub(super) const HUGGING_FACE: Provider = Provider {
    class: "llms.HuggingFace",
    name: "Hugging Face",
    connection: "HuggingFace",
    speaks: ApiKind::HuggingFace,
    prefixes: &["huggingface/"],
    place: BaseUrl::Fixed("https://router.huggingface.co"),
    key: Some("HUGGINGFACE_API_KEY"),
    ..BASE
};

pub(super) const MISTRAL: Provider = Provider {
    class: "llms.Mistral",
    name: "Mistral",
    connection: "Mistral",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["thinking", "presence_penalty", "frequency_penalty"],
        renamed: &[("seed", "random_seed")],
        any_tool: "any",
        usage: UsageRequest::Not,
        prefix: true,
        ..OPENAI_DIALECT
    }),
    prefixes: &["mistral/"],
    place: BaseUrl::Fixed("https://api.mistral.ai/v1"),
    key: Some("MISTRAL_API_KEY"),
    ..BASE
};

pub(super) const NOVITA: Provider = Provider {
    class: "llms.Novita",
    name: "Novita",
    connection: "Novita",
    prefixes: &["novita/"],
    place: BaseUrl::Fixed("https://api.novita.ai/v3/openai"),
    key: Some("NOVITA_API_KEY"),
    ..BASE
};

pub(super) const NVIDIA_NIM: Provider = Provider {
    class: "llms.NvidiaNIM",
    name: "NVIDIA NIM",
    connection: "NvidiaNIM",
    prefixes: &["nvidia_nim/"],
    place: BaseUrl::Given(Some("NVIDIA_NIM_URL")),
    key: Some("NVIDIA_NIM_API_KEY"),
    ..BASE
};

pub(super) const OLLAMA: Provider = Provider {
    class: "llms.Ollama",
    name: "Ollama",
    connection: "Ollama",
    prefixes: &["ollama/", "ollama_chat/"],
    place: BaseUrl::Default(None, "http://localhost:11434"),
    ..BASE
};

pub(super) const OPEN_ROUTER: Provider = Provider {
    class: "llms.OpenRouter",
    name: "OpenRouter",
    connection: "OpenRouter",
    speaks: ApiKind::OpenAi(Dialect { usage: UsageRequest::OfAll, ..NON_OPENAI_CLIENT_DIALECT }),
    prefixes: &["openrouter/"],
    place: BaseUrl::Default(Some("OPENROUTER_API_BASE"), "https://openrouter.ai/api/v1"),
    key: Some("OPENROUTER_API_KEY"),
    ..BASE
};

pub(super) const PERPLEXITY: Provider = Provider {
    class: "llms.Perplexity",
    name: "Perplexity",
    connection: "Perplexity",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["thinking", "seed", "stop"],
        usage: UsageRequest::Not,
        ..OPENAI_DIALECT
    }),
    prefixes: &["perplexity/"],
    place: BaseUrl::Fixed("https://api.perplexity.ai"),
    key: Some("PERPLEXITYAI_API_KEY"),
    ..BASE
};

pub(super) const SAMBA_NOVA: Provider = Provider {
    class: "llms.SambaNova",
    name: "SambaNova",
    connection: "SambaNova",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["thinking", "seed", "presence_penalty", "frequency_penalty"],
        flat: true,
        ..OPENAI_DIALECT
    }),
    prefixes: &["sambanova/"],
    place: BaseUrl::Fixed("https://api.sambanova.ai/v1"),
    key: Some("SAMBANOVA_API_KEY"),
    ..BASE
};

pub(super) const TOGETHER: Provider = Provider {
    class: "llms.TogetherAI",
    name: "Together",
    connection: "TogetherAI",
    prefixes: &["together_ai/"],
    place: BaseUrl::Fixed("https://api.together.xyz/v1"),
    key: Some("TOGETHER_API_KEY"),
    ..BASE
};

pub(super) const XAI: Provider = Provider {
    class: "llms.xAI",
    name: "xAI",
    connection: "xAI",
    speaks: ApiKind::OpenAi(Dialect {
        unknown: &["thinking", "stop", "frequency_penalty"],
        ..NON_OPENAI_CLIENT_DIALECT
    }),
    prefixes: &["xai/"],
    place: BaseUrl::Fixed("https://api.x.ai/v1"),
    key: Some("XAI_API_KEY"),
    ..BASE
};

pub(super) const ANTHROPIC: Provider = Provider {
    class: "llms.Anthropic",
    name: "Anthropic",
    connection: "Anthropic",
    speaks: ApiKind::Anthropic,
    prefixes: &["anthropic/"],
    place: BaseUrl::Fixed("https://api.anthropic.com"),
    key: Some("ANTHROPIC_API_KEY"),
    ..BASE
};

pub(super) const GEMINI: Provider = Provider {
    class: "llms.Gemini",
    name: "Gemini",
    connection: "Gemini",
    speaks: ApiKind::Gemini,
    prefixes: &["gemini/"],
    place: BaseUrl::Fixed("https://generativelanguage.googleapis.com/v1beta"),
    key: Some("GEMINI_API_KEY"),
    ..BASE
};

pub(super) const VERTEX: Provider = Provider {
    class: "llms.VertexAI",
    name: "Vertex AI",
    connection: "VertexAI",
    speaks: ApiKind::Vertex,
    prefixes: &["vertex_ai/"],
    ..BASE
};

pub(super) const BEDROCK: Provider = Provider {
    class: "llms.Bedrock",
    name: "Bedrock",
    connection: "AWS",
    speaks: ApiKind::Bedrock,
    prefixes: &["bedrock/converse/", "bedrock/"],
    ..BASE
};

pub(super) const COHERE: Provider = Provider {
    class: "llms.Cohere",
    name: "Cohere",
    connection: "Cohere",
    speaks: ApiKind::Cohere,
    prefixes: &["cohere_chat/", "cohere/"],
    place: BaseUrl::Fixed("https://api.cohere.com/v2/chat"),
    key: Some("COHERE_API_KEY"),
    ..BASE
};
