//! Collects the pieces of an answer into a reply, for all protocols.

use super::{Endpoint, LlmError, Piece, Pieces, Reply};
use runyard_runs::ModelUsage;
use serde_json::{Value, json};

/// The answer so far.
#[derive(Default)]
pub(super) struct ReplyBuilder<'p> {
    piece: Option<&'p Pieces<'p>>,
    content: Option<String>,
    calls: Vec<ToolCall>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: ModelUsage,
    pub(super) citations: Option<Value>,
    /// The tool whose arguments are the answer, for models that only accept schemas of tools.
    answer_tool: Option<&'static str>,
}

#[derive(Default)]
struct ToolCall {
    id: String,
    name: String,
    arguments: String,
}

impl<'p> ReplyBuilder<'p> {
    /// Passes each piece to `piece`.
    pub(super) fn new(piece: &'p Pieces<'p>) -> Self {
        Self { piece: Some(piece), ..Self::default() }
    }

    /// Takes the arguments of the tool `name` as the answer.
    pub(super) fn answered_by(self, name: Option<&'static str>) -> Self {
        Self { answer_tool: name, ..self }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.content.get_or_insert_default().push_str(text);
        if !text.is_empty() {
            self.emit(Piece::Text(text));
        }
    }

    pub(super) fn thought(&self, text: &str) {
        if !text.is_empty() {
            self.emit(Piece::Thought(text));
        }
    }

    /// Adds a part of the tool call with index `place`. If that is the next index, the call starts.
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
                self.emit(Piece::Text(arguments));
            }
        } else {
            self.emit(Piece::Call { place, name, arguments });
        }
    }

    /// Number of tool calls so far.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    fn emit(&self, piece: Piece<'_>) {
        if let Some(emit) = self.piece {
            emit(piece);
        }
    }

    pub(super) fn finish(mut self, endpoint: &Endpoint) -> Result<Reply, LlmError> {
        if self.finish_reason.is_none() && self.content.is_none() && self.calls.is_empty() {
            let message = format!("{} ended the stream without an answer", endpoint.provider);
            return Err(LlmError::broken(message));
        }
        if let Some(name) = self.answer_tool
            && let Some(index) = self.calls.iter().position(|call| call.name == name)
        {
            self.content = Some(self.calls.remove(index).arguments);
            if self.calls.is_empty() {
                self.finish_reason = Some("stop".into());
            }
        }
        let calls = self.calls.into_iter().map(|call| {
            // Some models send no arguments for a tool without parameters.
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
