//! `HTMLMarkdownToText`: extracts the plain text of HTML, or of Markdown if the input has no tag.

use super::{InputCheck, Registered, TEXT, failed};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    html,
    job::{Job, Ready},
};
use async_trait::async_trait;
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const HTML_MARKDOWN_TO_TEXT: Registered = Registered {
    class: "transformers.HTMLMarkdownToText",
    name: Some("html-markdown-to-text"),
    timeout: None,
    build: |_, _, _| Some(Box::new(HtmlMarkdownToText)),
};

#[derive(Debug)]
struct HtmlMarkdownToText;

/// The job that extracts the text.
#[derive(Serialize, Deserialize)]
pub(super) struct ReadText;

impl Job for ReadText {
    const NAME: &'static str = "html_markdown_to_text";

    /// Small, because each attribute of a tag is compared with all attributes before it.
    fn most_here(&self) -> usize {
        16 * 1024
    }

    fn perform(self, text: Vec<u8>) -> Result<Value, NodeError> {
        let value = String::from_utf8(text).map_err(failed)?;
        let text = html::text(&value).unwrap_or_else(|| markdown_text(&value));
        let words: Vec<&str> = text.split_whitespace().collect();
        Ok(words.join(" ").into())
    }
}

#[async_trait]
impl Kind for HtmlMarkdownToText {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let value = input["value"].as_str().unwrap_or_default();
        let ready = Ready::wait(call, ReadText, value.len()).await?;
        Ok(Arc::new(json!({"content": ready.perform(value.as_bytes().to_vec()).await?})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "an HTMLMarkdownToText")?;
        input.required("value", TEXT)?;
        Ok(input.done())
    }
}

/// The texts of Markdown, separated by spaces.
fn markdown_text(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut in_text = false;
    for event in Parser::new(markdown) {
        let is_text = matches!(event, Event::Text(_) | Event::SoftBreak);
        if !(is_text && in_text) {
            text.push(' ');
        }
        in_text = is_text;
        match event {
            Event::Text(piece) | Event::Code(piece) => text.push_str(&piece),
            // The reference does not recognize fences: to it, the text after one is the first word of the code.
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => text.push_str(&language),
            Event::SoftBreak => text.push('\n'),
            _ => {}
        }
    }
    text
}
