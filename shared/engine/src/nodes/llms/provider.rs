//! The table of providers.

use crate::llm::{Accent, AskUsage, PLAIN};

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
    pub(super) speaks: Speaks,
    /// Prefixes of model names in files, which are not sent to the provider.
    pub(super) prefixes: &'static [&'static str],
    pub(super) place: Place,
    /// The environment variable with the key, if the connection has none.
    pub(super) key: Option<&'static str>,
    pub(super) reasons: Reasons,
}

/// The protocol of a provider.
#[derive(Clone, Copy)]
pub(super) enum Speaks {
    OpenAi(Accent),
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
pub(super) enum Place {
    /// Always this URL.
    Fixed(&'static str),
    /// The connection, else this environment variable, else this URL.
    Default(Option<&'static str>, &'static str),
    /// The connection, else this environment variable.
    Given(Option<&'static str>),
}

/// Which models of a provider are reasoning models with special parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reasons {
    /// None, or none that the name identifies.
    Not,
    /// Models of `OpenAI` that another provider serves.
    Plainly,
    /// Models of `OpenAI`, with the effort of the node or its default.
    WithEffort,
}

/// Dialect of providers that the reference does not call through `OpenAI`'s client.
pub(super) const SPOKEN: Accent = Accent { says_stream: true, ..PLAIN };

const BASE: Provider = Provider {
    class: "",
    node_name: "LLM",
    name: "",
    connection: "",
    speaks: Speaks::OpenAi(PLAIN),
    prefixes: &[],
    place: Place::Fixed(""),
    key: None,
    reasons: Reasons::Not,
};

pub(super) const OPENAI: Provider = Provider {
    class: "llms.OpenAI",
    name: "OpenAI",
    connection: "OpenAI",
    prefixes: &["openai/"],
    place: Place::Default(Some("OPENAI_URL"), "https://api.openai.com/v1"),
    key: Some("OPENAI_API_KEY"),
    reasons: Reasons::WithEffort,
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
    place: Place::Given(None),
    reasons: Reasons::Plainly,
    ..BASE
};

pub(super) const AI21: Provider = Provider {
    class: "llms.AI21",
    name: "AI21",
    connection: "AI21",
    speaks: Speaks::OpenAi(Accent {
        unknown: &["thinking", "top_p", "presence_penalty", "frequency_penalty"],
        usage: AskUsage::Not,
        ..PLAIN
    }),
    prefixes: &["ai21/"],
    place: Place::Fixed("https://api.ai21.com/studio/v1"),
    key: Some("AI21_API_KEY"),
    ..BASE
};

pub(super) const ANYSCALE: Provider = Provider {
    class: "llms.Anyscale",
    name: "Anyscale",
    connection: "Anyscale",
    prefixes: &["anyscale/"],
    place: Place::Fixed("https://api.endpoints.anyscale.com/v1"),
    key: Some("ANYSCALE_API_KEY"),
    ..BASE
};

pub(super) const ATLAS_CLOUD: Provider = Provider {
    class: "llms.AtlasCloud",
    name: "Atlas Cloud",
    connection: "AtlasCloud",
    prefixes: &["openai/"],
    place: Place::Default(Some("ATLASCLOUD_API_BASE"), "https://api.atlascloud.ai/v1"),
    key: Some("ATLASCLOUD_API_KEY"),
    reasons: Reasons::Plainly,
    ..BASE
};

pub(super) const AZURE: Provider = Provider {
    class: "llms.AzureAI",
    name: "Azure",
    connection: "AzureAI",
    speaks: Speaks::Azure,
    prefixes: &["azure/"],
    place: Place::Given(Some("AZURE_URL")),
    key: Some("AZURE_API_KEY"),
    reasons: Reasons::Plainly,
    ..BASE
};

pub(super) const CEREBRAS: Provider = Provider {
    class: "llms.Cerebras",
    name: "Cerebras",
    connection: "Cerebras",
    speaks: Speaks::OpenAi(Accent {
        unknown: &["thinking", "presence_penalty", "frequency_penalty"],
        ..PLAIN
    }),
    prefixes: &["cerebras/"],
    place: Place::Fixed("https://api.cerebras.ai/v1"),
    key: Some("CEREBRAS_API_KEY"),
    ..BASE
};

pub(super) const DATABRICKS: Provider = Provider {
    class: "llms.Databricks",
    name: "Databricks",
    connection: "Databricks",
    speaks: Speaks::OpenAi(Accent { unknown: &["seed", "presence_penalty", "frequency_penalty"], ..SPOKEN }),
    prefixes: &["databricks/"],
    place: Place::Given(Some("DATABRICKS_API_BASE")),
    key: Some("DATABRICKS_API_KEY"),
    ..BASE
};

pub(super) const DEEP_INFRA: Provider = Provider {
    class: "llms.DeepInfra",
    name: "DeepInfra",
    connection: "DeepInfra",
    speaks: Speaks::OpenAi(Accent { unknown: &["thinking", "seed", "tool_choice"], ..PLAIN }),
    prefixes: &["deepinfra/"],
    place: Place::Fixed("https://api.deepinfra.com/v1/openai"),
    key: Some("DEEPINFRA_API_KEY"),
    ..BASE
};

pub(super) const DEEP_SEEK: Provider = Provider {
    class: "llms.DeepSeek",
    name: "DeepSeek",
    connection: "DeepSeek",
    speaks: Speaks::OpenAi(Accent { unknown: &[], flat: true, ..SPOKEN }),
    prefixes: &["deepseek/"],
    place: Place::Fixed("https://api.deepseek.com/beta"),
    key: Some("DEEPSEEK_API_KEY"),
    ..BASE
};

pub(super) const FIREWORKS: Provider = Provider {
    class: "llms.FireworksAI",
    name: "Fireworks",
    connection: "FireworksAI",
    speaks: Speaks::OpenAi(Accent { unknown: &["thinking", "seed"], any_tool: "any", ..SPOKEN }),
    prefixes: &["fireworks_ai/"],
    place: Place::Fixed("https://api.fireworks.ai/inference/v1"),
    key: Some("FIREWORKS_AI_API_KEY"),
    ..BASE
};

pub(super) const GROQ: Provider = Provider {
    class: "llms.Groq",
    name: "Groq",
    connection: "Groq",
    speaks: Speaks::OpenAi(SPOKEN),
    prefixes: &["groq/"],
    place: Place::Fixed("https://api.groq.com/openai/v1"),
    key: Some("GROQ_API_KEY"),
    ..BASE
};

pub(super) const HUGGING_FACE: Provider = Provider {
    class: "llms.HuggingFace",
    name: "Hugging Face",
    connection: "HuggingFace",
    speaks: Speaks::HuggingFace,
    prefixes: &["huggingface/"],
    place: Place::Fixed("https://router.huggingface.co"),
    key: Some("HUGGINGFACE_API_KEY"),
    ..BASE
};

pub(super) const MISTRAL: Provider = Provider {
    class: "llms.Mistral",
    name: "Mistral",
    connection: "Mistral",
    speaks: Speaks::OpenAi(Accent {
        unknown: &["thinking", "presence_penalty", "frequency_penalty"],
        renamed: &[("seed", "random_seed")],
        any_tool: "any",
        usage: AskUsage::Not,
        prefix: true,
        ..PLAIN
    }),
    prefixes: &["mistral/"],
    place: Place::Fixed("https://api.mistral.ai/v1"),
    key: Some("MISTRAL_API_KEY"),
    ..BASE
};

pub(super) const NOVITA: Provider = Provider {
    class: "llms.Novita",
    name: "Novita",
    connection: "Novita",
    prefixes: &["novita/"],
    place: Place::Fixed("https://api.novita.ai/v3/openai"),
    key: Some("NOVITA_API_KEY"),
    ..BASE
};

pub(super) const NVIDIA_NIM: Provider = Provider {
    class: "llms.NvidiaNIM",
    name: "NVIDIA NIM",
    connection: "NvidiaNIM",
    prefixes: &["nvidia_nim/"],
    place: Place::Given(Some("NVIDIA_NIM_URL")),
    key: Some("NVIDIA_NIM_API_KEY"),
    ..BASE
};

pub(super) const OLLAMA: Provider = Provider {
    class: "llms.Ollama",
    name: "Ollama",
    connection: "Ollama",
    prefixes: &["ollama/", "ollama_chat/"],
    place: Place::Default(None, "http://localhost:11434"),
    ..BASE
};

pub(super) const OPEN_ROUTER: Provider = Provider {
    class: "llms.OpenRouter",
    name: "OpenRouter",
    connection: "OpenRouter",
    speaks: Speaks::OpenAi(Accent { usage: AskUsage::OfAll, ..SPOKEN }),
    prefixes: &["openrouter/"],
    place: Place::Default(Some("OPENROUTER_API_BASE"), "https://openrouter.ai/api/v1"),
    key: Some("OPENROUTER_API_KEY"),
    ..BASE
};

pub(super) const PERPLEXITY: Provider = Provider {
    class: "llms.Perplexity",
    name: "Perplexity",
    connection: "Perplexity",
    speaks: Speaks::OpenAi(Accent { unknown: &["thinking", "seed", "stop"], usage: AskUsage::Not, ..PLAIN }),
    prefixes: &["perplexity/"],
    place: Place::Fixed("https://api.perplexity.ai"),
    key: Some("PERPLEXITYAI_API_KEY"),
    ..BASE
};

pub(super) const SAMBA_NOVA: Provider = Provider {
    class: "llms.SambaNova",
    name: "SambaNova",
    connection: "SambaNova",
    speaks: Speaks::OpenAi(Accent {
        unknown: &["thinking", "seed", "presence_penalty", "frequency_penalty"],
        flat: true,
        ..PLAIN
    }),
    prefixes: &["sambanova/"],
    place: Place::Fixed("https://api.sambanova.ai/v1"),
    key: Some("SAMBANOVA_API_KEY"),
    ..BASE
};

pub(super) const TOGETHER: Provider = Provider {
    class: "llms.TogetherAI",
    name: "Together",
    connection: "TogetherAI",
    prefixes: &["together_ai/"],
    place: Place::Fixed("https://api.together.xyz/v1"),
    key: Some("TOGETHER_API_KEY"),
    ..BASE
};

pub(super) const XAI: Provider = Provider {
    class: "llms.xAI",
    name: "xAI",
    connection: "xAI",
    speaks: Speaks::OpenAi(Accent { unknown: &["thinking", "stop", "frequency_penalty"], ..SPOKEN }),
    prefixes: &["xai/"],
    place: Place::Fixed("https://api.x.ai/v1"),
    key: Some("XAI_API_KEY"),
    ..BASE
};

pub(super) const ANTHROPIC: Provider = Provider {
    class: "llms.Anthropic",
    name: "Anthropic",
    connection: "Anthropic",
    speaks: Speaks::Anthropic,
    prefixes: &["anthropic/"],
    place: Place::Fixed("https://api.anthropic.com"),
    key: Some("ANTHROPIC_API_KEY"),
    ..BASE
};

pub(super) const GEMINI: Provider = Provider {
    class: "llms.Gemini",
    name: "Gemini",
    connection: "Gemini",
    speaks: Speaks::Gemini,
    prefixes: &["gemini/"],
    place: Place::Fixed("https://generativelanguage.googleapis.com/v1beta"),
    key: Some("GEMINI_API_KEY"),
    ..BASE
};

pub(super) const VERTEX: Provider = Provider {
    class: "llms.VertexAI",
    name: "Vertex AI",
    connection: "VertexAI",
    speaks: Speaks::Vertex,
    prefixes: &["vertex_ai/"],
    ..BASE
};

pub(super) const BEDROCK: Provider = Provider {
    class: "llms.Bedrock",
    name: "Bedrock",
    connection: "AWS",
    speaks: Speaks::Bedrock,
    prefixes: &["bedrock/converse/", "bedrock/"],
    ..BASE
};

pub(super) const COHERE: Provider = Provider {
    class: "llms.Cohere",
    name: "Cohere",
    connection: "Cohere",
    speaks: Speaks::Cohere,
    prefixes: &["cohere_chat/", "cohere/"],
    place: Place::Fixed("https://api.cohere.com/v2/chat"),
    key: Some("COHERE_API_KEY"),
    ..BASE
};
