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

/// With the descriptor that the evaluation is to talk on.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) timeout_ms: u64,
    pub(crate) memory_bytes: u64,
}

impl Order {
    pub(crate) const LENGTH: usize = 16;

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        (u128::from(self.timeout_ms) << 64 | u128::from(self.memory_bytes)).to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let [timeout_ms, memory_bytes] = [64, 0].map(|shift| {
            u64::try_from(u128::from_le_bytes(bytes) >> shift & u128::from(u64::MAX)).unwrap_or(u64::MAX)
        });
        Self { timeout_ms, memory_bytes }
    }
}

/// What to evaluate.
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
