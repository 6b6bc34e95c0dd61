//! Finds thoughts and answers in a model's reply while it is being streamed.
//!
//! Each parser gets the reply in pieces, cut anywhere. It returns new text of a thought or an answer as soon as no
//! later piece can change its meaning. All returned text together equals the thought and the answer of the parsed
//! reply.

mod json;
mod labels;
mod section;
mod tags;
#[cfg(test)]
mod tests;

use super::{calling::FINAL_ANSWER, mode::Mode, structured::FINISH};
use crate::llm::Piece;

/// New text of a thought or of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    Thought(String),
    Answer(String),
}

/// Parser of one streamed reply.
#[derive(Debug)]
pub(super) struct Watch {
    parser: Parser,
    /// Whether an answer has started.
    answered: bool,
}

#[derive(Debug)]
enum Parser {
    Labels(labels::Labels),
    Tags(tags::Tags),
    Structured(json::Members),
    /// For each call, the function's name and its arguments.
    Calls(Vec<(String, json::Members)>),
}

impl Watch {
    pub(super) fn new(mode: Mode) -> Self {
        let parser = match mode {
            Mode::Labels => Parser::Labels(labels::Labels::default()),
            Mode::Xml => Parser::Tags(tags::Tags::default()),
            Mode::StructuredOutput => Parser::Structured(json::Members::new(
                "thought",
                Some("action_input"),
                Some(("action", FINISH)),
            )),
            Mode::FunctionCalling => Parser::Calls(Vec::new()),
        };
        Self { parser, answered: false }
    }

    /// Whether text of an answer was returned.
    pub(super) fn answered(&self) -> bool {
        self.answered
    }

    /// Takes the next piece of the reply, and returns new text.
    pub(super) fn feed(&mut self, piece: &Piece<'_>) -> Vec<Delta> {
        let mut deltas = Vec::new();
        match (&mut self.parser, piece) {
            (Parser::Labels(labels), Piece::Text(text)) => labels.feed(text, &mut deltas),
            (Parser::Tags(tags), Piece::Text(text)) => tags.feed(text, &mut deltas),
            (Parser::Structured(members), Piece::Text(text)) => members.feed(text, &mut deltas),
            (Parser::Calls(calls), Piece::Call { place, name, arguments }) => {
                if *place == calls.len() {
                    let answer = (name.trim() == FINAL_ANSWER).then_some("answer");
                    calls.push(((*name).to_owned(), json::Members::new("thought", answer, None)));
                }
                if let Some((_, members)) = calls.get_mut(*place) {
                    members.feed(arguments, &mut deltas);
                }
            }
            (_, Piece::Thought(text)) => deltas.push(Delta::Thought((*text).to_owned())),
            _ => {}
        }
        self.answered |= deltas.iter().any(|delta| matches!(delta, Delta::Answer(_)));
        deltas
    }

    /// Ends the reply, and returns the rest of the text.
    pub(super) fn end(&mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if let Parser::Labels(labels) = &mut self.parser {
            labels.end(&mut deltas);
        }
        self.answered |= deltas.iter().any(|delta| matches!(delta, Delta::Answer(_)));
        deltas
    }
}
