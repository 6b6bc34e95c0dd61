//! What the pieces of an answer add up to, whatever protocol they came by.

use super::{Endpoint, LlmError, Piece, Pieces, Reply};
use runyard_runs::ModelUsage;
use serde_json::{Value, json};

/// An answer so far.
#[derive(Default)]
pub(super) struct Gathered<'p> {
    piece: Option<&'p Pieces<'p>>,
    content: Option<String>,
    calls: Vec<ToolCall>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: ModelUsage,
    pub(super) citations: Option<Value>,
    /// The tool whose arguments are the answer: how JSON is had from a model that knows no schema but those of tools.
    answer_tool: Option<&'static str>,
}

#[derive(Default)]
struct ToolCall {
    id: String,
    name: String,
    arguments: String,
}

impl<'p> Gathered<'p> {
    /// Gives each piece to `piece` as it comes.
    pub(super) fn new(piece: &'p Pieces<'p>) -> Self {
        Self { piece: Some(piece), ..Self::default() }
    }

    /// The same, where what the tool `name` is called with is the answer.
    pub(super) fn answered_by(self, name: Option<&'static str>) -> Self {
        Self { answer_tool: name, ..self }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.content.get_or_insert_default().push_str(text);
        if !text.is_empty() {
            self.give(Piece::Text(text));
        }
    }

    pub(super) fn thought(&self, text: &str) {
        if !text.is_empty() {
            self.give(Piece::Thought(text));
        }
    }

    /// A part of the tool call at `place`; the call begins if that is the next one.
    pub(super) fn call(&mut self, place: usize, id: &str, name: &str, arguments: &str) {
        if place > self.calls.len() {
            return;
        }
        if place == self.calls.len() {
            self.calls.push(ToolCall::default());
        }
        let call = &mut self.calls[place];
        call.id.push_str(id);
        call.name.push_str(name);
        call.arguments.push_str(arguments);
        if self.answer_tool == Some(&*call.name) {
            if !arguments.is_empty() {
                self.give(Piece::Text(arguments));
            }
        } else {
            self.give(Piece::Call { place, name, arguments });
        }
    }

    /// How many tool calls there are.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    fn give(&self, piece: Piece<'_>) {
        if let Some(give) = self.piece {
            give(piece);
        }
    }

    pub(super) fn finish(mut self, endpoint: &Endpoint) -> Result<Reply, LlmError> {
        if self.finish_reason.is_none() && self.content.is_none() && self.calls.is_empty() {
            let message = format!("{} ended the stream without an answer", endpoint.provider);
            return Err(LlmError::broken(message));
        }
        if let Some(name) = self.answer_tool
            && let Some(place) = self.calls.iter().position(|call| call.name == name)
        {
            self.content = Some(self.calls.remove(place).arguments);
            if self.calls.is_empty() {
                self.finish_reason = Some("stop".into());
            }
        }
        let calls = self.calls.into_iter().map(|call| {
            // A tool without parameters is called with nothing at all by some models.
            let arguments = if call.arguments.is_empty() { "{}".to_owned() } else { call.arguments };
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
        });
        Ok(Reply {
            content: self.content,
            tool_calls: calls.collect(),
            finish_reason: self.finish_reason,
            usage: ModelUsage { llm_calls: 1, ..self.usage },
            citations: self.citations,
        })
    }
}
