//! What a request says beside its messages.

use crate::{load::Fields, prompt::Prompt};
use serde_json::{Map, Value};

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

/// The parameters of a node, by the names of the chat completions API.
pub(super) fn read(fields: Fields<'_>, prompt: Option<&Prompt>) -> Map<String, Value> {
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
pub(super) fn reasoning(model: &str, fields: Fields<'_>, parameters: &mut Map<String, Value>) -> bool {
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
