//! The four formats in which a model writes its steps, and the parsed steps.

use super::{calling, labels, structured, xml};
use crate::llm::Reply;
use serde_json::Value;

/// The format of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `Thought:`, `Action:`, `Action Input:`, `Answer:`.
    Labels,
    /// `<thought>`, `<action>`, `<action_input>`, `<answer>`.
    Xml,
    /// Function calls; the answer is one too.
    FunctionCalling,
    /// A JSON object whose schema the provider enforces.
    StructuredOutput,
}

/// The next step of an agent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ReplyStep {
    /// The final answer.
    Answer(Answer),
    /// One call of a tool.
    Call(RequestedCall),
    /// Several function calls: each gets its own reply.
    Calls(Vec<RequestedCall>),
}

/// An answer, as the model wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) thought: String,
    pub(super) content: Value,
    /// The files that go with it, separated by commas.
    pub(super) files: String,
}

/// A call that the model requested.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RequestedCall {
    pub(super) thought: String,
    /// The tool's name, as the model wrote it.
    pub(super) name: String,
    pub(super) input: Value,
    /// The model's id of the call, in function calling.
    pub(super) id: Option<String>,
}

/// Why a reply is not a valid step. The model gets this text, and tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InvalidReply {
    pub(super) problem: String,
    /// What the model should do, if the mode's usual advice does not apply.
    pub(super) advice: Option<&'static str>,
}

impl InvalidReply {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: None }
    }
}

/// The names of the modes in files.
pub(super) const WORDS: &[(&str, Mode)] = &[
    ("DEFAULT", Mode::Labels),
    ("XML", Mode::Xml),
    ("FUNCTION_CALLING", Mode::FunctionCalling),
    ("STRUCTURED_OUTPUT", Mode::StructuredOutput),
];

impl Mode {
    /// Stop sequences, so that the model does not write the tool's result itself.
    pub(super) fn stop(self) -> Vec<String> {
        let stop: &[&str] = match self {
            Self::Labels => &["Observation: ", "\nObservation:"],
            Self::Xml => &["\nObservation:", "Observation:", "</output>\n<", "</output><"],
            Self::FunctionCalling | Self::StructuredOutput => &[],
        };
        stop.iter().map(ToString::to_string).collect()
    }

    /// The text of the step, which is added to the conversation.
    pub(super) fn text(self, reply: &Reply) -> &str {
        let text = reply.content.as_deref().unwrap_or_default();
        if self == Self::Xml { xml::first_block(text) } else { text }
    }

    /// Parses a reply into a step.
    pub(super) fn parse(self, reply: &Reply) -> Result<ReplyStep, InvalidReply> {
        let text = self.text(reply);
        if matches!(self, Self::Labels | Self::Xml) && text.trim().is_empty() {
            return Err(InvalidReply::new("the reply is empty"));
        }
        match self {
            Self::Labels => labels::parse(text),
            Self::Xml => xml::parse(text),
            Self::FunctionCalling => calling::parse(&reply.tool_calls),
            Self::StructuredOutput => structured::parse(text),
        }
    }

    /// Describes the format to a model whose reply was not valid.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Labels => {
                "Write `Thought:` and then either `Action:` with `Action Input:` (one JSON object), or `Answer:`."
            }
            Self::Xml => {
                "Write one <output> block with <thought> and then either <action> with <action_input> (JSON on one \
                 line), or <answer>."
            }
            Self::FunctionCalling => {
                "Reply with function calls only: call a tool with `thought` and its arguments, or call \
                 `provide_final_answer` with `thought` and `answer`."
            }
            Self::StructuredOutput => {
                "Reply with one JSON object that has `thought`, `action`, `action_input` and `output_files`; \
                 `action_input` is text that holds a JSON object with the tool's arguments, or the answer if \
                 `action` is `finish`."
            }
        }
    }
}
