//! The protocol between parent, zygote, templates and evaluations.
//!
//! Parent and zygote may briefly be of two consecutive releases: Lambda replaces a function's code and its layers one
//! after the other. So messages may only gain members, and the other side must work without them; the tests pin the
//! format.
//!
//! A frame is four bytes of length and that many bytes of JSON. What an evaluation writes is not trusted: the user's
//! code could have written it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The hidden first argument that makes a program the zygote of another.
pub(crate) const ARGUMENT: &str = "__python-sandbox";

/// The first message of the zygote or a template, once it is ready or has failed.
#[derive(Serialize, Deserialize)]
pub(crate) enum Hello {
    Ready,
    /// Ready, but the kernel refuses the system call filter.
    Unfiltered,
    Failed(String),
}

/// A record on the control socket of the zygote, or of a template.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Fork an evaluation with this memory limit, whose socket is the descriptor sent along.
    Prepare { id: u64, memory_bytes: u64 },
    /// Fork a template, whose control socket is the descriptor sent along. A zygote of an earlier release forks an
    /// evaluation instead, which cannot parse a template's request and ends.
    Template { id: u64, memory_bytes: u64 },
    /// The evaluation gets its request now, and must end within the timeout.
    Start { id: u64, timeout_ms: u64 },
}

impl Order {
    pub(crate) const LENGTH: usize = 16;
    /// A flag in the amount of memory, which is never that large.
    const TEMPLATE: u64 = 1 << 63;

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let (id, amount) = match self {
            Self::Prepare { id, memory_bytes } => (id, memory_bytes & !Self::TEMPLATE),
            Self::Template { id, memory_bytes } => (id, memory_bytes | Self::TEMPLATE),
            Self::Start { id, timeout_ms } => (id, timeout_ms),
        };
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        bytes[8..].copy_from_slice(&amount.to_le_bytes());
        bytes
    }

    /// `prepare`: whether a descriptor was sent along, which distinguishes the orders.
    #[cfg(feature = "interpreter")]
    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH], prepare: bool) -> Self {
        let [id, amount] = [0, 8].map(|at| {
            let mut half = [0; 8];
            half.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(half)
        });
        if !prepare {
            Self::Start { id, timeout_ms: amount }
        } else if amount & Self::TEMPLATE == 0 {
            Self::Prepare { id, memory_bytes: amount }
        } else {
            Self::Template { id, memory_bytes: amount & !Self::TEMPLATE }
        }
    }
}

/// The first message to a template, preceded by four bytes as a [`Request`] is. The template answers with a [`Hello`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Template<'a> {
    /// The code to compile.
    #[serde(borrow)]
    pub(crate) template: std::borrow::Cow<'a, str>,
}

/// What to evaluate. Its frame is preceded by four bytes: the limit on processor time, in seconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    pub(crate) code: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) input: &'a RawValue,
    /// Whether the input's members are keyword arguments of `run`, instead of the input being its only argument.
    pub(crate) named: bool,
    pub(crate) max_output_bytes: usize,
}

/// The result of an evaluation.
#[derive(Serialize, Deserialize)]
pub(crate) enum Reply<'a> {
    Value(#[serde(borrow)] &'a RawValue),
    Failure(Failure),
}

/// The variants of [`crate::Error`] that the other side reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Raised { kind: String, message: String, line: Option<u32> },
    Syntax { message: String, line: Option<u32> },
    Output(String),
    NoRun,
    Timeout,
    Memory,
    Recursion,
    Crashed(String),
}

/// Encodes `body` as a frame.
pub(crate) fn frame(body: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, body)?;
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &impl Serialize) -> String {
        let frame = frame(body).unwrap();
        assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_le_bytes());
        String::from_utf8(frame[4..].to_vec()).unwrap()
    }

    #[test]
    fn messages_of_a_parent_are_those_of_the_previous_release() {
        assert_eq!(ARGUMENT, "__python-sandbox");
        let input = RawValue::from_string(r#"{"a":1}"#.to_owned()).unwrap();
        let request = Request { code: "c".into(), input: &input, named: true, max_output_bytes: 9 };
        assert_eq!(text(&request), r#"{"code":"c","input":{"a":1},"named":true,"max_output_bytes":9}"#);
        let order = Order::Prepare { id: 1, memory_bytes: 2 };
        assert_eq!(order.to_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let order = Order::Start { id: 258, timeout_ms: 3 };
        assert_eq!(order.to_bytes(), [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let order = Order::Template { id: 1, memory_bytes: 2 };
        assert_eq!(order.to_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 128]);
        assert_eq!(text(&Template { template: "c".into() }), r#"{"template":"c"}"#);
    }

    #[test]
    fn messages_of_a_sandbox_are_those_of_the_previous_release() {
        let hellos = [Hello::Ready, Hello::Unfiltered, Hello::Failed("f".to_owned())];
        assert_eq!(text(&hellos), r#"["Ready","Unfiltered",{"Failed":"f"}]"#);
        let value = RawValue::from_string("[1]".to_owned()).unwrap();
        assert_eq!(text(&Reply::Value(&value)), r#"{"Value":[1]}"#);
        let (message, line) = ("m".to_owned(), Some(2));
        let failures = [
            Failure::Raised { kind: "K".to_owned(), message: message.clone(), line },
            Failure::Syntax { message, line: None },
            Failure::Output("o".to_owned()),
            Failure::NoRun,
            Failure::Timeout,
            Failure::Memory,
            Failure::Recursion,
            Failure::Crashed("c".to_owned()),
        ];
        let expected = concat!(
            r#"[{"Raised":{"kind":"K","message":"m","line":2}},{"Syntax":{"message":"m","line":null}},{"Output":"o"},"#,
            r#""NoRun","Timeout","Memory","Recursion",{"Crashed":"c"}]"#,
        );
        assert_eq!(text(&failures), expected);
    }

    #[test]
    fn an_earlier_sandbox_does_not_parse_a_template_as_a_request() {
        assert!(serde_json::from_str::<Request<'_>>(r#"{"template":"c"}"#).is_err());
    }

    #[test]
    fn members_of_later_releases_are_ignored() {
        let later = r#"{"code":"c","later":[1],"input":{},"named":false,"max_output_bytes":9}"#;
        let request: Request<'_> = serde_json::from_str(later).unwrap();
        assert_eq!((&*request.code, request.max_output_bytes), ("c", 9));
        let later = r#"{"Failure":{"Raised":{"kind":"K","message":"m","line":2,"later":true}}}"#;
        assert!(matches!(serde_json::from_str(later).unwrap(), Reply::Failure(Failure::Raised { .. })));
    }
}
