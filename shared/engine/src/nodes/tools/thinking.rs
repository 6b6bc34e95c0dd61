//! Thinking: a model analyzes a thought.

use super::{Registered, mapping};
use crate::{
    flow::{Call, Halt, Kind, NodeError, ToolSpec},
    load::{Fields, Loading},
    nodes::llms::{Ask, Model},
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

pub(super) const THINKING: Registered = Registered {
    class: "tools.ThinkingTool",
    name: Some("thinking-tool"),
    timeout: Some(Duration::from_mins(10)),
    build: |id, fields, loading| Some(Box::new(Thinking::read(id, fields, loading)?)),
};

const PROMPT: &str = "\
Think the following through, for somebody who must decide what to do next.

<thought>
{thought}
</thought>

{context_section}

Write, under these headings and no longer than the matter deserves:

## Analysis
What the thought really comes to, put clearly.

## Parts
What it consists of, if it is more than one thing.

## What stands out
Patterns, assumptions that were not said, and what is missing or may be wrong.

## Next steps
What to do, in order, concretely.

## Conclusion
One or two sentences to act on.";

#[derive(Debug)]
struct Thinking {
    model: Model,
    prompt: String,
}

impl Thinking {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        if fields.bool("memory_enabled") == Some(true) {
            let message =
                "`memory_enabled` is not supported: the agent's conversation contains the earlier thoughts";
            fields.mistake(fields.spot("memory_enabled"), message.into());
        }
        let prompt = fields.text("prompt_template").unwrap_or(PROMPT).to_owned();
        Some(Self { model: model(id, fields, loading)?, prompt })
    }
}

/// Reads the field `llm` of a tool.
pub(super) fn model(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Model> {
    let Some(llm) = fields.fields("llm") else {
        if fields.get("llm").is_none() {
            fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `llm`"));
        }
        return None;
    };
    Model::read(&format!("{id}-llm"), llm, loading)
}

#[async_trait]
impl Kind for Thinking {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let text = |key: &str| input[key].as_str().unwrap_or_default();
        let (thought, context, focus) = (text("reflection"), text("context"), text("focus"));
        let mut sections = Vec::new();
        if !context.is_empty() {
            sections.push(format!("Additional context:\n{context}"));
        }
        if focus != "general" && !focus.is_empty() {
            sections.push(format!("Focus area: {focus}"));
        }
        // Parts are replaced separately, so that placeholders inside the thought are not.
        let prompt: Vec<String> = self
            .prompt
            .split("{thought}")
            .map(|part| part.replace("{context_section}", &sections.join("\n\n")))
            .collect();
        let messages = vec![json!({"role": "user", "content": prompt.join(thought)})];
        let ask = Ask { messages, ..Ask::default() };
        let reply = self.model.ask(call, &format!("{}/llm", call.key), &ask, &|_| {}).await?;
        Ok(Arc::new(json!({
            "content": reply.content,
            "original_thought": thought,
            "context_used": context,
            "focus_area": focus,
            "thinking_session_count": null,
        })))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let input = mapping(input, "a thinking tool")?;
        let empty = Map::new();
        let given = input.as_object().unwrap_or(&empty);
        let Some(thought) = given.get("reflection").or_else(|| given.get("thought")) else {
            return Err(NodeError::new("ValidationError", "a thinking tool needs a `reflection`"));
        };
        let mut admitted = json!({"reflection": thought, "context": "", "focus": "general"});
        for key in ["context", "focus"] {
            if let Some(value) = given.get(key) {
                admitted[key] = value.clone();
            }
        }
        match ["reflection", "context", "focus"].iter().find(|key| !admitted[**key].is_string()) {
            Some(key) => Err(NodeError::new("ValidationError", format!("`{key}` must be text"))),
            None => Ok(Arc::new(admitted)),
        }
    }

    fn offer(&self) -> ToolSpec {
        ToolSpec {
            description: "Thinks a thought through: what it comes to, what is missing, what to do next. Use it before \
                          a decision that is hard to take back, or when results contradict each other.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "reflection": {"type": "string", "description": "The thought, question or problem."},
                    "context": {"type": "string", "description": "What must be known to think about it."},
                    "focus": {"type": "string", "description": "What to look at, like planning or decision-making."},
                },
                "required": ["reflection"],
            }),
            parallel: false,
        }
    }
}
