//! Language models: one kind for all providers, told apart by a table.

use super::{Registered, mapping};
use crate::{
    flow::{Call, Halt, Kind, Node, NodeError, run_within},
    llm::{Endpoint, Protocol, Reply, Request, Unanswered},
    load::{Connection, Fields, Loading, Refusal, build_node},
    prompt::Prompt,
};
use async_trait::async_trait;
use runyard_runs::EventBody;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

const TIMEOUT: Option<Duration> = Some(Duration::from_mins(10));

pub(super) const NODES: &[&Registered] = &[&CUSTOM, &OPENAI];

const OPENAI: Registered = Registered {
    class: "llms.OpenAI",
    name: Some("LLM"),
    timeout: TIMEOUT,
    build: |id, fields, loading| Llm::build(&OPENAI_PROVIDER, id, fields, loading),
};

const CUSTOM: Registered = Registered {
    class: "llms.CustomLLM",
    name: Some("CustomLLM"),
    timeout: TIMEOUT,
    build: |id, fields, loading| Llm::build(&CUSTOM_PROVIDER, id, fields, loading),
};

/// What tells one provider from another.
struct Provider {
    /// For messages.
    name: &'static str,
    /// The class of its connections.
    connection: &'static str,
    protocol: Protocol,
    /// What models are named with in files, and not in calls.
    prefix: &'static str,
    /// Where it is, unless the connection or the environment variable says so.
    url: Option<(&'static str, &'static str)>,
    /// The environment variable with its key, for connections without one.
    key: Option<&'static str>,
    /// Whether it has the models that take `max_completion_tokens` and `reasoning_effort`.
    reasons: bool,
}

const OPENAI_PROVIDER: Provider = Provider {
    name: "OpenAI",
    connection: "OpenAI",
    protocol: Protocol::OpenAi,
    prefix: "openai/",
    url: Some(("OPENAI_URL", "https://api.openai.com/v1")),
    key: Some("OPENAI_API_KEY"),
    reasons: true,
};

const CUSTOM_PROVIDER: Provider = Provider {
    name: "the model's server",
    connection: "HttpApiKey",
    protocol: Protocol::OpenAi,
    prefix: "openai/",
    url: None,
    key: None,
    reasons: false,
};

/// Keys of a node that are not sent to the provider; all others are.
const OWN_KEYS: &[&str] = &[
    "action_type",
    "approval",
    "budget_tokens",
    "caching",
    "callbacks",
    "client",
    "connection",
    "depends",
    "description",
    "error_handling",
    "fallback",
    "frequency_penalty",
    "group",
    "id",
    "inference_mode",
    "input_mapping",
    "input_param_modes",
    "input_schema",
    "input_transformer",
    "is_files_allowed",
    "is_optimized_for_agents",
    "is_output_persisted_in_sandbox_allowed",
    "is_parallel_execution_allowed",
    "is_postponed_component_init",
    "max_tokens",
    "metadata",
    "mock",
    "model",
    "model_info",
    "name",
    "output_transformer",
    "presence_penalty",
    "prompt",
    "provider_prefix",
    "reasoning_effort",
    "response_format",
    "schema",
    "seed",
    "stop",
    "streaming",
    "strict_tools",
    "temperature",
    "thinking_enabled",
    "tool_choice",
    "tools",
    "top_p",
    "type",
    "verbosity",
];

/// Keys that are sent as they are.
const SENT_KEYS: &[&str] =
    &["temperature", "max_tokens", "top_p", "seed", "presence_penalty", "frequency_penalty"];

#[derive(Debug)]
struct Llm {
    endpoint: Endpoint,
    prompt: Option<Arc<Prompt>>,
    parameters: Map<String, Value>,
    system_as_user: bool,
    stream: bool,
    fallback: Option<Fallback>,
}

/// Another model, asked once this one has failed for good.
#[derive(Debug)]
struct Fallback {
    llm: Box<Node>,
    triggers: Vec<Trigger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    Any,
    RateLimit,
    Connection,
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
        let endpoint = endpoint(provider, id, fields, loading);
        let fallback = fields
            .fields("fallback")
            .and_then(|fallback| Fallback::read(id, fallback, prompt.as_ref(), loading));
        let mut parameters = parameters(fields, prompt.as_deref());
        let endpoint = endpoint?;
        let system_as_user = provider.reasons && reasoning(&endpoint.model, fields, &mut parameters);
        let stream =
            fields.fields("streaming").and_then(|streaming| streaming.bool("enabled")).unwrap_or(false);
        Some(Box::new(Self { endpoint, prompt, parameters, system_as_user, stream, fallback }))
    }

    fn request(&self, input: &Map<String, Value>) -> Result<Request, NodeError> {
        let mut messages =
            self.prompt.as_ref().map_or_else(|| Ok(Vec::new()), |prompt| prompt.render(input))?;
        if self.system_as_user {
            for message in messages.iter_mut().filter(|message| message["role"] == "system") {
                message["role"] = "user".into();
            }
        }
        Ok(Request { messages, parameters: self.parameters.clone(), stream: self.stream })
    }
}

fn endpoint(provider: &Provider, id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Endpoint> {
    if fields.get("model").is_none() {
        fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `model`"));
    }
    let connection = connection(provider, fields, loading)?;
    if let Some(connection) = &connection
        && connection.class != provider.connection
    {
        let message = format!(
            "this node needs a connection of type `dynamiq.connections.{}`, not `{}`",
            provider.connection, connection.class
        );
        fields.mistake(fields.spot("connection"), message);
        return None;
    }
    let (url, key) = connection.map_or((None, None), |connection| (connection.url, connection.api_key));
    let variable = |name: &str| (loading.env)(name);
    let url = match (url, provider.url) {
        (Some(url), _) => url,
        (None, Some((name, default))) => match variable(name) {
            Ok(Some(url)) => url,
            Ok(None) | Err(Refusal::Forbidden(_)) => default.to_owned(),
            Err(Refusal::Unreadable(why)) => {
                fields.mistake(fields.spot("connection"), format!("there is no `url`: {why}"));
                return None;
            }
        },
        (None, None) => {
            fields.mistake(fields.spot("connection"), "the connection lacks its `url`".into());
            return None;
        }
    };
    let api_key = match (key, provider.key) {
        (Some(key), _) => key,
        (None, Some(name)) => match variable(name) {
            Ok(Some(key)) => key,
            refused => {
                let why = match refused {
                    Err(refusal) => refusal.to_string(),
                    Ok(_) => format!("the environment variable `{name}` is not set"),
                };
                fields.mistake(fields.spot("connection"), format!("there is no `api_key`, and {why}"));
                return None;
            }
        },
        (None, None) => {
            fields.mistake(fields.spot("connection"), "the connection lacks its `api_key`".into());
            return None;
        }
    };
    let model = fields.text("model")?;
    let prefix =
        fields.text("provider_prefix").map_or_else(|| provider.prefix.to_owned(), |p| format!("{p}/"));
    Some(Endpoint {
        protocol: provider.protocol,
        provider: provider.name,
        url,
        api_key,
        model: model.strip_prefix(prefix.as_str()).unwrap_or(model).to_owned(),
    })
}

/// The node's connection, if it has one; `None` with a mistake if it is not what it should be.
#[expect(clippy::option_option, reason = "no connection, and one with a mistake, are different things")]
fn connection(provider: &Provider, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Option<Connection>> {
    let Some(given) = fields.get("connection") else {
        if provider.key.is_none() {
            let message =
                format!("this lacks its `connection`, of type `dynamiq.connections.{}`", provider.connection);
            fields.mistake(fields.yaml.spot, message);
            return None;
        }
        return Some(None);
    };
    let Some(id) = given.text() else {
        return Some(Some(Connection::read(fields.fields("connection")?, "the connection")?));
    };
    let Some(known) = loading.connections.get(id) else {
        let names: Vec<&str> = loading.connections.keys().map(String::as_str).collect();
        let near = crate::load::meant(id, &names);
        fields.mistake(given.spot, format!("there is no connection `{id}`{near}"));
        return None;
    };
    known.clone().map(Some)
}

fn parameters(fields: Fields<'_>, prompt: Option<&Prompt>) -> Map<String, Value> {
    let mut parameters = Map::new();
    for key in SENT_KEYS {
        if fields.get(key).is_some()
            && let Some(number) = if matches!(*key, "max_tokens" | "seed") {
                fields.count(key).map(Value::from)
            } else {
                fields.float(key).map(Value::from)
            }
        {
            parameters.insert((*key).to_owned(), number);
        }
    }
    if let Some(stop) =
        fields.json("stop").filter(|stop| stop.as_array().is_some_and(|stop| !stop.is_empty()))
    {
        parameters.insert("stop".into(), stop);
    }
    let prompts =
        prompt.map_or((None, None), |prompt| (prompt.tools.clone(), prompt.response_format.clone()));
    let is_set = |value: &Value| !crate::transform::is_falsy(value);
    let tools = fields.json("tools").filter(is_set).or(prompts.0.filter(is_set));
    let response_format = fields.json("response_format").filter(is_set).or(prompts.1.filter(is_set));
    if let Some(tools) = tools {
        parameters.insert("tools".into(), tools);
        if let Some(choice) = fields.json("tool_choice") {
            parameters.insert("tool_choice".into(), choice);
        }
    }
    if let Some(format) = response_format {
        parameters.insert("response_format".into(), format);
    }
    for entry in fields.yaml.entries().unwrap_or_default() {
        if !OWN_KEYS.contains(&entry.key.as_str()) && !entry.value.is_null() {
            parameters.insert(entry.key.clone(), entry.value.to_json());
        }
    }
    parameters
}

/// The models that do not reason unless they are asked to.
const EFFORTLESS: &[&str] = &[
    "gpt-5.1",
    "gpt-5.2",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-5.4-nano",
    "gpt-5.5",
    "gpt-5.6",
    "gpt-5.6-terra",
    "gpt-5.6-luna",
    "gpt-5.6-sol",
    "gpt-6-sol",
    "gpt-6-luna",
];

/// Fits the parameters to the models that reason, as the reference's requests show; gives whether they take no system
/// messages.
fn reasoning(model: &str, fields: Fields<'_>, parameters: &mut Map<String, Value>) -> bool {
    let model = model.to_lowercase();
    let is_o = ["o1", "o3", "o4"].iter().any(|prefix| model.starts_with(prefix));
    let is_gpt = ["gpt-5", "gpt-6"].iter().any(|prefix| model.starts_with(prefix));
    if !is_o && !is_gpt {
        return false;
    }
    if let Some(limit) = parameters.remove("max_tokens") {
        parameters.insert("max_completion_tokens".into(), limit);
    }
    if model != "o3-mini" {
        parameters.remove("stop");
    }
    parameters.remove("presence_penalty");
    parameters.remove("frequency_penalty");
    let undated = model.split("-20").next().unwrap_or(&model);
    let default = if EFFORTLESS.contains(&undated) { "none" } else { "medium" };
    let effort = match fields.text("reasoning_effort") {
        _ if is_gpt && model.contains("pro") => "high",
        None | Some("auto") => default,
        Some(chosen) => chosen,
    };
    if is_o || effort != "none" {
        parameters.remove("temperature");
        parameters.remove("top_p");
    }
    if !model.starts_with("o1") && !model.contains("chat") {
        parameters.insert("reasoning_effort".into(), effort.into());
    }
    is_o && (!model.starts_with("o1") || model.starts_with("o1-mini") || model.starts_with("o1-preview"))
}

#[async_trait]
impl Kind for Llm {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let request = self.request(input.as_object().unwrap_or(&empty))?;
        call.services.check_budget(call.run)?;
        let piece = |delta: &str| {
            let node = Arc::clone(&call.node.reference);
            call.run.emit(EventBody::LlmDelta { node, delta: delta.to_owned() });
        };
        match self.endpoint.ask(call.run, &call.services.http, &request, &piece).await {
            Ok(reply) => Ok(Arc::new(output(&self.endpoint.model, reply)?)),
            Err(Unanswered::Failed(error)) => Err(NodeError::from(error).into()),
            Err(Unanswered::Stopped) => Err(Halt::Stopped),
        }
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
                run_within(call, &fallback.llm, "fallback", input).await
            }
            _ => Err(error.into()),
        }
    }
}

/// `{content, tool_calls?}`, the arguments of calls parsed where they are JSON.
fn output(model: &str, reply: Reply) -> Result<Value, NodeError> {
    let is_empty = reply.content.as_deref().is_none_or(str::is_empty) && reply.tool_calls.is_empty();
    if is_empty && reply.finish_reason.as_deref() == Some("content_filter") {
        let message = format!("the provider's content filter blocked the answer of `{model}`");
        return Err(NodeError::new("LLMContentFilteredError", message));
    }
    let mut output = json!({"content": reply.content});
    if !reply.tool_calls.is_empty() {
        let calls = reply.tool_calls.into_iter().map(|mut call| {
            let arguments = &mut call["function"]["arguments"];
            if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok()) {
                *arguments = parsed;
            }
            call
        });
        output["tool_calls"] = calls.collect();
    }
    Ok(output)
}

impl Fallback {
    fn read(
        id: &str,
        fields: Fields<'_>,
        prompt: Option<&Arc<Prompt>>,
        loading: &Loading<'_>,
    ) -> Option<Self> {
        if fields.bool("enabled") != Some(true) {
            return None;
        }
        let Some(llm) = fields.fields("llm") else {
            fields.mistake(fields.yaml.spot, "a fallback that is enabled needs its `llm`".into());
            return None;
        };
        let llm_id = llm.text("id").map_or_else(|| format!("{id}-fallback"), str::to_owned);
        let words =
            [("any", Trigger::Any), ("rate_limit", Trigger::RateLimit), ("connection", Trigger::Connection)];
        let triggers = match fields.list("triggers") {
            Some(items) => items
                .iter()
                .filter_map(|item| {
                    let found = words.iter().find(|(word, _)| item.text() == Some(*word));
                    if found.is_none() {
                        let message = "a trigger is one of `any`, `rate_limit`, `connection`";
                        fields.mistake(item.spot, message.into());
                    }
                    found.map(|(_, trigger)| *trigger)
                })
                .collect(),
            None => vec![Trigger::Any],
        };
        // The other model gets this one's prompt, whatever its own is.
        let loading = Loading { prompt: prompt.cloned().or_else(|| loading.prompt.clone()), ..*loading };
        let llm = build_node(&llm_id, llm, &loading)?;
        Some(Self { llm: Box::new(Node::new(llm, Vec::new(), None)), triggers })
    }

    fn applies(&self, error: &NodeError) -> bool {
        let text = error.message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        self.triggers.iter().any(|trigger| match trigger {
            Trigger::Any => true,
            Trigger::RateLimit => {
                matches!(&*error.kind, "RateLimitError" | "BudgetExceededError")
                    || says(&[
                        "rate limit",
                        "429",
                        "quota exceeded",
                        "too many requests",
                        "ratelimit",
                        "throttl",
                        "capacity",
                        "resource_exhausted",
                    ])
            }
            Trigger::Connection => {
                matches!(
                    &*error.kind,
                    "APIConnectionError"
                        | "Timeout"
                        | "ServiceUnavailableError"
                        | "InternalServerError"
                        | "TimeoutError"
                ) || says(&[
                    "connection",
                    "timeout",
                    "timed out",
                    "unreachable",
                    "service unavailable",
                    "503",
                    "502",
                    "504",
                    "gateway",
                    "network",
                    "dns",
                    "refused",
                    "reset",
                    "closed",
                    "internal server error",
                    "500",
                ])
            }
        })
    }
}
