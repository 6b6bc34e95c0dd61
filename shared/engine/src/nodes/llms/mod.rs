//! Language models: one kind for all providers, which a table describes.

mod endpoint;
mod fallback;
mod model;
mod parameters;
mod provider;
mod recover;
mod repair;

pub(crate) use model::{Ask, Model};

use super::{Lookup, Registered, find, mapping};
use crate::{
    flow::{Call, Halt, Kind, Node, NodeError, run_within},
    llm::{Piece, Reply},
    load::{Fields, Loading, build_node},
    prompt::Prompt,
};
use async_trait::async_trait;
use fallback::Fallback;
use provider::Provider;
use runyard_runs::EventBody;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

const TIMEOUT: Option<Duration> = Some(Duration::from_mins(10));

/// A node type for each provider.
macro_rules! nodes {
    ($($provider:ident),* $(,)?) => {
        pub(super) const NODES: &[&Registered] = &[$(&Registered {
            class: provider::$provider.class,
            name: Some(provider::$provider.node_name),
            timeout: TIMEOUT,
            build: |id, fields, loading| Llm::build(&provider::$provider, id, fields, loading),
        }),*];

        const PROVIDERS: &[&Provider] = &[$(&provider::$provider),*];
    };
}

nodes![
    AI21,
    ANTHROPIC,
    ANYSCALE,
    ATLAS_CLOUD,
    AZURE,
    BEDROCK,
    CEREBRAS,
    COHERE,
    CUSTOM,
    DATABRICKS,
    DEEP_INFRA,
    DEEP_SEEK,
    FIREWORKS,
    GEMINI,
    GROQ,
    HUGGING_FACE,
    MISTRAL,
    NOVITA,
    NVIDIA_NIM,
    OLLAMA,
    OPENAI,
    OPEN_ROUTER,
    PERPLEXITY,
    SAMBA_NOVA,
    TOGETHER,
    VERTEX,
    XAI,
];

/// The provider of a node type; the error says why it has none.
fn provider_of(type_path: &str) -> Result<&'static Provider, String> {
    match find(type_path) {
        Lookup::Native(registered) => {
            PROVIDERS.iter().find(|provider| provider.class == registered.class).copied().ok_or_else(|| {
                format!("`type` must be the type of a model, such as `dynamiq.nodes.llms.OpenAI`, not `{type_path}`")
            })
        }
        Lookup::Other(problem) => Err(problem),
    }
}

#[derive(Debug)]
struct Llm {
    model: Model,
    prompt: Option<Arc<Prompt>>,
    stream: bool,
    fallback: Option<Fallback<Box<Node>>>,
}

impl Llm {
    fn build(
        provider: &Provider,
        id: &str,
        fields: Fields<'_>,
        loading: &Loading<'_>,
    ) -> Option<Box<dyn Kind>> {
        let own = || Prompt::of_node(fields, loading).map(Arc::new);
        let prompt = loading.prompt.clone().or_else(own);
        // The fallback gets this node's prompt instead of its own.
        let within = Loading { prompt: prompt.clone(), ..*loading };
        let fallback = Fallback::read(id, fields, |id, llm| {
            build_node(id, llm, &within).map(|llm| Box::new(Node::new(llm, Vec::new(), None)))
        });
        let model = Model::alone(provider, id, fields, prompt.as_deref(), loading);
        let stream =
            fields.fields("streaming").and_then(|streaming| streaming.bool("enabled")).unwrap_or(false);
        Some(Box::new(Self { model: model?, prompt, stream, fallback }))
    }
}

#[async_trait]
impl Kind for Llm {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        let messages = match &self.prompt {
            Some(prompt) => prompt.render(call.run, input).await?,
            None => Vec::new(),
        };
        let ask = Ask { messages, stream: self.stream, ..Ask::default() };
        let piece = |piece: Piece<'_>| {
            if let Piece::Text(delta) = piece {
                let node = Arc::clone(&call.node.reference);
                call.run.emit(EventBody::LlmDelta { node, delta: delta.to_owned() });
            }
        };
        // Not journaled separately: the reply is the output of the node, which is recorded right after it.
        let reply = self.model.once(call, ask, &piece).await?;
        Ok(Arc::new(output(reply)))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let input = mapping(input, "an LLM")?;
        let Some(prompt) = &self.prompt else {
            return Err(NodeError::new("ValidationError", "the node has no prompt"));
        };
        prompt.check(input.as_object().unwrap_or(&Map::new()))?;
        Ok(input)
    }

    async fn rescue(&self, call: Call<'_>, input: &Arc<Value>, error: NodeError) -> Result<Arc<Value>, Halt> {
        match &self.fallback {
            Some(fallback) if fallback.applies(&error) => {
                match run_within(call, &fallback.llm, "fallback", input).await {
                    Err(Halt::Failed(_)) => Err(error.into()),
                    other => other,
                }
            }
            _ => Err(error.into()),
        }
    }
}

/// `{content, tool_calls?, citations?}`; the arguments of calls are parsed if they are JSON.
fn output(reply: Reply) -> Value {
    let calls = reply.parsed_calls();
    let mut output = json!({"content": reply.content});
    if !calls.is_empty() {
        output["tool_calls"] = calls.into();
    }
    if let Some(citations) = reply.citations {
        output["citations"] = citations;
    }
    output
}
