//! What parent, zygote and evaluation say to each other.
//!
//! A frame is its length as four bytes and that many bytes of JSON. What an evaluation writes is not
//! trusted: it is as if the user's code had written it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The hidden first argument that makes a program the sandbox of another.
pub(crate) const ARGUMENT: &str = "__python-sandbox";

/// From the zygote, once it is warm or knows that it never will be.
#[derive(Serialize, Deserialize)]
pub(crate) enum Hello {
    Ready,
    /// But the kernel refuses the system call filter.
    Unfiltered,
    Failed(String),
}

/// A record on the control socket.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Fork an evaluation that talks on the descriptor that comes along, and has so much memory for itself.
    Prepare { id: u64, memory_bytes: u64 },
    /// It gets its request now, and so much time.
    Start { id: u64, timeout_ms: u64 },
}

impl Order {
    pub(crate) const LENGTH: usize = 16;

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let (Self::Prepare { id, memory_bytes: amount } | Self::Start { id, timeout_ms: amount }) = self;
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        bytes[8..].copy_from_slice(&amount.to_le_bytes());
        bytes
    }

    /// What it is shows in whether a descriptor came along.
    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH], prepare: bool) -> Self {
        let [id, amount] = [0, 8].map(|at| {
            let mut half = [0; 8];
            half.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(half)
        });
        if prepare {
            Self::Prepare { id, memory_bytes: amount }
        } else {
            Self::Start { id, timeout_ms: amount }
        }
    }
}

/// What to evaluate. Before its frame stand four bytes: the seconds of processor time that it may take.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    pub(crate) code: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) input: &'a RawValue,
    /// Whether the input's members are the arguments of `run`, instead of the one argument.
    pub(crate) named: bool,
    pub(crate) max_output_bytes: usize,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
pub(crate) enum Reply<'a> {
    Value(#[serde(borrow)] &'a RawValue),
    Failure(Failure),
}

/// [`crate::Error`], as far as it is made on the other side.
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

/// A frame of `body`.
pub(crate) fn frame(body: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, body)?;
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}
