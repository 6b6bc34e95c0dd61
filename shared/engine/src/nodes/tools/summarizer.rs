//! Summarizer: a model cleans up the text of a web page.

use super::{Registered, mapping, thinking::model};
use crate::{
    flow::{Call, Halt, Kind, NodeError, ToolSpec},
    load::{Fields, Loading},
    nodes::llms::{Ask, Model},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub(super) const SUMMARIZER: Registered = Registered {
    class: "tools.SummarizerTool",
    name: Some("llm-summarizer"),
    timeout: Some(Duration::from_mins(10)),
    build: |id, fields, loading| Some(Box::new(Summarizer::read(id, fields, loading)?)),
};

const PROMPT: &str = "\
The text below was taken from a web page, without its tags. Make it a text that can be read.

<text>
{input}
</text>

- Leave out what belongs to the page and not to its content: navigation, buttons, notices of cookies and copyright, \
contact details, calls to sign up.
- Keep every statement, name, figure and date of the content. Add nothing, and do not shorten what is said.
- Set headings, paragraphs, lists and tables where the content has them; mend spacing and plain slips of spelling.

Give the text alone.";

#[derive(Debug)]
struct Summarizer {
    model: Model,
    prompt: String,
    /// Words per request to the model.
    chunk: usize,
}

impl Summarizer {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        Some(Self {
            prompt: fields.text("prompt_template").unwrap_or(PROMPT).to_owned(),
            chunk: fields.count("chunk_size").unwrap_or(4000).max(1) as usize,
            model: model(id, fields, loading)?,
        })
    }
}

#[async_trait]
impl Kind for Summarizer {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let text = input["input"].as_str().unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let chunks: Vec<String> = if words.len() > self.chunk {
            words.chunks(self.chunk).map(|words| words.join(" ")).collect()
        } else {
            vec![text.to_owned()]
        };
        let mut summaries = Vec::with_capacity(chunks.len());
        for (number, chunk) in chunks.iter().enumerate() {
            let content = self.prompt.replace("{input}", chunk);
            let ask = Ask { messages: vec![json!({"role": "user", "content": content})], ..Ask::default() };
            let reply = self.model.ask(call, &format!("{}/llm/{number}", call.key), &ask, &|_| {}).await?;
            summaries.push(reply.content.unwrap_or_default());
        }
        Ok(Arc::new(json!({"content": summaries.join("\n")})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let input = mapping(input, "a summarizer")?;
        match &input["input"] {
            Value::String(_) => Ok(Arc::new(json!({"input": input["input"]}))),
            _ => Err(NodeError::new("ValidationError", "a summarizer needs text under `input`")),
        }
    }

    fn offer(&self) -> ToolSpec {
        ToolSpec {
            description: "Cleans up a text that was taken from a web page: leaves out what belongs to the page, keeps \
                          the content. Long texts are taken piece by piece.",
            parameters: json!({
                "type": "object",
                "properties": {"input": {"type": "string", "description": "The text."}},
                "required": ["input"],
            }),
            parallel: false,
        }
    }
}
