//! The schemas sent to a model: of its functions, or of the object that it must write.

use super::{
    calling::FINAL_ANSWER,
    structured::FINISH,
    tools::{Body, Tool},
};
use serde_json::{Map, Value, json};

/// Characters of a function's description: some providers refuse longer ones.
const MAX_DESCRIPTION_CHARACTERS: usize = 1024;
const THOUGHT_OF_CALL: &str = "In one or two sentences, in the first person: why you call this tool now and what you \
                               expect of it. Do not repeat the task.";
const THOUGHT_OF_ANSWER: &str = "In one or two sentences, in the first person: which results let you answer now. Do \
                                 not repeat the task.";
const FILES: &str = "Paths of files to return with the answer, separated by commas; empty for none.";
const DELEGATE: &str = "true to return this agent's answer as yours, word for word, and end.";

/// Functions in the format of the chat completions API: the answer, then the tools.
pub(super) fn functions<'t>(
    tools: impl Iterator<Item = &'t Tool>,
    answer: Option<&Value>,
    delegation: bool,
) -> Vec<Value> {
    let answer = answer
        .cloned()
        .unwrap_or_else(|| json!({"type": "string", "description": "The complete answer to the user."}));
    let parameters = json!({
        "type": "object",
        "properties": {
            "thought": {"type": "string", "description": THOUGHT_OF_ANSWER},
            "answer": answer,
            "output_files": {"type": "string", "description": FILES},
        },
        "required": ["thought", "answer"],
        "additionalProperties": false,
    });
    let description = "Gives the final answer and ends the work. Call it alone, once you have all that you need, or \
                       at once if no tool is needed.";
    let answer = function(FINAL_ANSWER, description, &parameters);
    std::iter::once(answer).chain(tools.map(|tool| of_tool(tool, delegation))).collect()
}

fn of_tool(tool: &Tool, delegation: bool) -> Value {
    let mut properties = Map::new();
    properties.insert("thought".into(), json!({"type": "string", "description": THOUGHT_OF_CALL}));
    let own = tool.parameters["properties"].as_object();
    for (name, schema) in own.into_iter().flatten() {
        properties.entry(name.clone()).or_insert_with(|| schema.clone());
    }
    let takes_any = properties.len() == 1 && tool.parameters["additionalProperties"] == true;
    if delegation && matches!(tool.body, Body::Agent { .. }) {
        properties.insert("delegate_final".into(), json!({"type": "boolean", "description": DELEGATE}));
    }
    let mut required = vec![Value::from("thought")];
    required.extend(
        tool.parameters["required"].as_array().into_iter().flatten().filter(|n| *n != "thought").cloned(),
    );
    let mut parameters = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": takes_any,
    });
    for key in ["$defs", "definitions"] {
        if let Some(definitions) = tool.parameters.get(key) {
            parameters[key] = definitions.clone();
        }
    }
    function(&tool.called, &tool.description, &parameters)
}

fn function(name: &str, description: &str, parameters: &Value) -> Value {
    let description: String = description.chars().take(MAX_DESCRIPTION_CHARACTERS).collect();
    json!({
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    })
}

/// The `response_format` of a step in structured output.
pub(super) fn step<'t>(tools: impl Iterator<Item = &'t Tool>, delegation: bool) -> Value {
    let tools: Vec<&Tool> = tools.collect();
    let names: Vec<&str> = tools.iter().map(|tool| tool.called.as_str()).chain([FINISH]).collect();
    let mut input =
        "Text that holds a JSON object with the tool's arguments by name; the final answer if `action` is \
                     `finish`."
            .to_owned();
    if delegation && tools.iter().any(|tool| matches!(tool.body, Body::Agent { .. })) {
        input.push_str(
            " For a tool that is an agent: {\"input\": \"its task\", \"delegate_final\": true} returns its answer as \
             yours.",
        );
    }
    let action = format!("The tool to call, or `finish` to answer: one of {}.", names.join(", "));
    let thought = "In one or two sentences, in the first person: why this tool and what you expect of it, or which \
                   results let you finish.";
    json!({
        "type": "json_schema",
        "json_schema": {
            "name": "plan_next_action",
            "strict": true,
            "schema": {
                "type": "object",
                "required": ["thought", "action", "action_input", "output_files"],
                "properties": {
                    "thought": {"type": "string", "description": thought},
                    "action": {"type": "string", "description": action},
                    "action_input": {"type": "string", "description": input},
                    "output_files": {"type": "string", "description": FILES},
                },
                "additionalProperties": false,
            },
        },
    })
}
