//! The parameters of a request: all except its messages.

use super::provider::{Provider, Reasoning};
use crate::{
    load::{Fields, misspelt},
    prompt::Prompt,
};
use serde_json::{Map, Value, json};

/// Keys of a node that are not sent to the provider; all others are.
const OWN_KEYS: &[&str] = &[
    "action_type",
    "allowed_openai_params",
    "api_base",
    "api_key",
    "api_version",
    "approval",
    "aws_bedrock_runtime_endpoint",
    "base_url",
    "budget_tokens",
    "caching",
    "callbacks",
    "client",
    "connection",
    "depends",
    "description",
    "drop_params",
    "error_handling",
    "extra_body",
    "extra_headers",
    "fallback",
    "frequency_penalty",
    "group",
    "headers",
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
    "max_retries",
    "max_tokens",
    "metadata",
    "mock",
    "model",
    "model_info",
    "name",
    "num_retries",
    "output_transformer",
    "presence_penalty",
    "prompt",
    "provider_prefix",
    "response_format",
    "return_citations",
    "schema",
    "seed",
    "stop",
    "streaming",
    "strict_tools",
    "temperature",
    "thinking_enabled",
    "timeout",
    "tool_choice",
    "tools",
    "top_p",
    "type",
];

/// Keys that are sent unchanged.
const SENT_KEYS: &[&str] =
    &["temperature", "max_tokens", "top_p", "seed", "presence_penalty", "frequency_penalty"];

/// Keys for the reasoning of `OpenAI` models, adapted to the model. Some other providers get the first unchanged.
const EFFORT_KEYS: &[&str] = &["reasoning_effort", "verbosity"];

/// Further parameters of providers, which are not reported as misspelt keys of nodes.
const KNOWN_KEYS: &[&str] = &[
    "audio",
    "cache_control",
    "deployment_id",
    "format",
    "function_call",
    "functions",
    "include_reasoning",
    "keep_alive",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "min_tokens",
    "modalities",
    "model_list",
    "models",
    "num_ctx",
    "num_predict",
    "options",
    "parallel_tool_calls",
    "plugins",
    "prediction",
    "prompt_cache_key",
    "provider",
    "reasoning",
    "reasoning_effort",
    "repetition_penalty",
    "route",
    "safety_identifier",
    "safety_settings",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "thinking",
    "think",
    "top_k",
    "top_logprobs",
    "transforms",
    "user",
    "verbosity",
    "web_search_options",
];

/// The parameters of a node, by the names of the chat completions API.
pub(super) fn read(provider: &Provider, fields: Fields<'_>, prompt: Option<&Prompt>) -> Map<String, Value> {
    let mut parameters = Map::new();
    if fields.bool("thinking_enabled") == Some(true) {
        let budget = fields.count("budget_tokens").unwrap_or(1024);
        parameters.insert("thinking".into(), json!({"type": "enabled", "budget_tokens": budget}));
    }
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
    }
    // Not sent in requests without tools.
    if let Some(choice) = fields.json("tool_choice") {
        parameters.insert("tool_choice".into(), choice);
    }
    if let Some(format) = response_format {
        parameters.insert("response_format".into(), format);
    }
    for entry in fields.yaml.keys() {
        let key = entry.key.as_str();
        let is_own = OWN_KEYS.contains(&key)
            || EFFORT_KEYS.contains(&key) && provider.reasons == Reasoning::WithEffort
            || key == "reasoning_effort" && provider.class == "llms.Databricks";
        if !is_own {
            fields.yaml.ask(key);
            if let Some(near) = near(key) {
                let message = format!("`{key}` goes to the provider as it is; did you mean `{near}`?");
                fields.warn(entry.key_spot, message);
            }
        }
        if !is_own && !entry.value.is_null() {
            parameters.insert(entry.key.clone(), entry.value.to_json());
        }
    }
    if let Some(Value::Object(extra)) = fields.json("extra_body") {
        parameters.extend(extra);
    }
    parameters
}

/// The known key that is nearest to an unknown one.
fn near(key: &str) -> Option<&'static str> {
    let known = [OWN_KEYS, EFFORT_KEYS, KNOWN_KEYS].concat();
    if known.contains(&key) { None } else { misspelt(key, &known) }
}

/// The models whose default reasoning effort is `none`.
const NO_EFFORT_MODELS: &[&str] = &[
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

/// Constraints of a reasoning model on requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fit {
    /// It accepts no system messages: they are sent as messages of the user.
    pub(super) system_as_user: bool,
    /// It does not accept `stop`.
    pub(super) endless: bool,
}

/// Adapts the parameters to reasoning models of `OpenAI`, as the reference does.
pub(super) fn fit(
    provider: &Provider,
    model: &str,
    fields: Fields<'_>,
    parameters: &mut Map<String, Value>,
) -> Fit {
    let model = model.to_lowercase();
    let is_o = is_o_series(&model);
    let is_gpt = ["gpt-5", "gpt-6"].iter().any(|prefix| model.starts_with(prefix));
    if provider.reasons == Reasoning::Not || (!is_o && !is_gpt) {
        return Fit::default();
    }
    if let Some(limit) = parameters.remove("max_tokens") {
        parameters.insert("max_completion_tokens".into(), limit);
    }
    let endless = if provider.reasons == Reasoning::WithEffort { model != "o3-mini" } else { is_gpt };
    if endless {
        parameters.remove("stop");
    }
    parameters.remove("presence_penalty");
    parameters.remove("frequency_penalty");
    let effort = (provider.reasons == Reasoning::WithEffort).then(|| effort(&model, is_gpt, fields));
    if is_o || effort != Some("none") {
        parameters.remove("temperature");
        parameters.remove("top_p");
    }
    if let Some(effort) = effort
        && !model.starts_with("o1")
        && !model.contains("chat")
    {
        parameters.insert("reasoning_effort".into(), effort.into());
    }
    let has_system = is_gpt
        || (model.starts_with("o1") && !model.starts_with("o1-mini") && !model.starts_with("o1-preview"));
    Fit { system_as_user: !has_system, endless }
}

/// Whether it is one of `OpenAI`'s `o1`, `o3` and `o4` models.
pub(super) fn is_o_series(model: &str) -> bool {
    let model = model.to_lowercase();
    ["o1", "o3", "o4"].iter().any(|prefix| model.starts_with(prefix))
}

fn effort<'f>(model: &str, is_gpt: bool, fields: Fields<'f>) -> &'f str {
    let undated = model.split("-20").next().unwrap_or(model);
    let default = if NO_EFFORT_MODELS.contains(&undated) { "none" } else { "medium" };
    match fields.text("reasoning_effort") {
        _ if is_gpt && model.contains("pro") => "high",
        None | Some("auto") => default,
        Some(chosen) => chosen,
    }
}
