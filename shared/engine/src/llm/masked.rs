//! Masks the secrets of the app in pieces of an answer: a model may repeat what is in its request.

use super::{Piece, Pieces, Reply};
use crate::secrets::{Secrets, StreamMask};
use std::sync::{Mutex, PoisonError};

/// Passes on pieces with secrets masked. Text that may be the start of a secret is held until more text follows.
pub(super) struct MaskedPieces<'p> {
    piece: &'p Pieces<'p>,
    secrets: &'p Secrets,
    last: Mutex<(Part, StreamMask)>,
}

/// The part of the answer that a piece belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Text,
    Thought,
    Call(usize),
}

impl<'p> MaskedPieces<'p> {
    pub(super) fn new(secrets: &'p Secrets, piece: &'p Pieces<'p>) -> Self {
        Self { piece, secrets, last: Mutex::new((Part::Text, StreamMask::default())) }
    }

    pub(super) fn give(&self, piece: Piece<'_>) {
        if self.secrets.outputs_hold_none() {
            return (self.piece)(piece);
        }
        let (part, text, name) = match piece {
            Piece::Text(text) => (Part::Text, text, ""),
            Piece::Thought(text) => (Part::Thought, text, ""),
            Piece::Call { place, name, arguments } => (Part::Call(place), arguments, name),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != part {
            self.rest(&mut last);
            last.0 = part;
        }
        let shown = last.1.add(self.secrets, text);
        self.show(part, &shown, name);
    }

    /// Passes on the held text at the end of the answer.
    pub(super) fn end(&self) {
        self.rest(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn rest(&self, last: &mut (Part, StreamMask)) {
        let rest = last.1.rest(self.secrets);
        self.show(last.0, &rest, "");
    }

    fn show(&self, part: Part, text: &str, name: &str) {
        match part {
            _ if text.is_empty() && name.is_empty() => {}
            Part::Text => (self.piece)(Piece::Text(text)),
            Part::Thought => (self.piece)(Piece::Thought(text)),
            Part::Call(place) => (self.piece)(Piece::Call { place, name, arguments: text }),
        }
    }
}

impl Reply {
    /// The reply with the secrets of the app masked.
    pub(super) fn hidden(mut self, secrets: &Secrets) -> Self {
        if secrets.outputs_hold_none() {
            return self;
        }
        self.content = self.content.map(|text| secrets.hide_in_content(text));
        for value in self.tool_calls.iter_mut().chain(&mut self.citations) {
            secrets.hide_in_value(value);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::{Mistakes, read_yaml},
        secrets::Gather,
    };
    use serde_json::json;

    #[test]
    fn no_piece_and_no_reply_shows_a_secret() {
        let file = "connections: {c: {type: x, api_key: sk-4711-abc}}";
        let mut gather = Gather::default();
        gather.file(&read_yaml(file, &mut Mistakes::default()).expect("YAML"));
        let secrets = gather.done();
        let shown = Mutex::new(Vec::new());
        let piece = |piece: Piece<'_>| shown.lock().expect("no panic").push(format!("{piece:?}"));
        let veiled = MaskedPieces::new(&secrets, &piece);
        for text in ["a sk-47", "11-abc b sk", "-47"] {
            veiled.give(Piece::Text(text));
        }
        veiled.give(Piece::Call { place: 0, name: "t", arguments: "{\"k\": \"sk-4711-a" });
        veiled.give(Piece::Call { place: 0, name: "", arguments: "bc\"}" });
        veiled.end();
        assert_eq!(
            *shown.lock().expect("no panic"),
            [
                r#"Text("a ")"#,
                r#"Text("*** b ")"#,
                r#"Text("sk-47")"#,
                r#"Call { place: 0, name: "t", arguments: "{\"k\": \"" }"#,
                r#"Call { place: 0, name: "", arguments: "***\"}" }"#,
            ]
        );
        let call = json!({"id": "1", "function": {"name": "t", "arguments": "{\"k\": \"sk-4711-abc\"}"}});
        let reply =
            Reply { content: Some("sk-4711-abc!".into()), tool_calls: vec![call], ..Reply::default() };
        let hidden = reply.hidden(&secrets);
        assert_eq!(hidden.content.as_deref(), Some("***!"));
        assert_eq!(hidden.tool_calls[0]["function"]["arguments"], "{\"k\": \"***\"}");
    }
}
