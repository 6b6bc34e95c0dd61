//! Finds thoughts and answers in a model's reply while it is being written.
//!
//! Each parser is fed the reply in pieces, cut anywhere, and gives what is new of a thought or an answer as soon as
//! nothing that may follow can make it something else. All pieces together are the thought and the answer that the reply
//! is parsed to in the end.

mod json;
mod labels;
mod section;
mod tags;
#[cfg(test)]
mod tests;

use super::{calling::FINAL_ANSWER, mode::Mode, structured::FINISH};
use crate::llm::Piece;

/// What a piece of a reply is a piece of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    Thought(String),
    Answer(String),
}

/// Follows one reply.
#[derive(Debug)]
pub(super) struct Watch {
    parser: Parser,
    /// Whether an answer has begun.
    answered: bool,
}

#[derive(Debug)]
enum Parser {
    Labels(labels::Labels),
    Tags(tags::Tags),
    Structured(json::Members),
    /// By call: the function's name, and its arguments.
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

    /// Whether a piece of an answer was given.
    pub(super) fn answered(&self) -> bool {
        self.answered
    }

    /// Takes the next piece of the reply; gives what it adds.
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

    /// What is left once the reply is whole.
    pub(super) fn end(&mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if let Parser::Labels(labels) = &mut self.parser {
            labels.end(&mut deltas);
        }
        self.answered |= deltas.iter().any(|delta| matches!(delta, Delta::Answer(_)));
        deltas
    }
}
