use std::io;

use crate::wire::Failure;

/// Why there is no result; the texts are for the author of the code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The code raised an exception; prints as Python's `str(exception)`.
    #[error("{message}")]
    Raised {
        /// The exception's class, such as `ValueError`.
        kind: String,
        /// `str(exception)`, cut off after 8 KiB.
        message: String,
        /// The innermost line of the user's own code in the traceback.
        line: Option<u32>,
    },
    /// The code does not compile.
    #[error("{message}")]
    Syntax {
        /// The compiler's message.
        message: String,
        /// The line of the error, from 1.
        line: Option<u32>,
    },
    /// It defines no `run`.
    #[error("The 'run' function is not defined in the provided code.")]
    NoRun,
    /// It was killed at its deadline.
    #[error("the code ran longer than its time limit")]
    Timeout,
    /// It exceeded its memory limit.
    #[error("the code used more memory than its limit")]
    Memory,
    /// It exceeded the recursion limit.
    #[error("maximum recursion depth exceeded")]
    Recursion,
    /// Its result cannot become JSON, or is too large.
    #[error("{0}")]
    Output(String),
    /// The code and its input together are too large.
    #[error("code and input have {bytes} bytes, {limit} are allowed")]
    Input {
        /// Bytes of code and input together.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The process that ran it died.
    #[error("the sandbox process died: {0}")]
    Crashed(String),
    /// The sandbox did not start.
    #[error("the sandbox cannot be started")]
    Unavailable(#[source] io::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Raised { kind, message, line } => Self::Raised { kind, message, line },
            Failure::Syntax { message, line } => Self::Syntax { message, line },
            Failure::Output(why) => Self::Output(why),
            Failure::NoRun => Self::NoRun,
            Failure::Timeout => Self::Timeout,
            Failure::Memory => Self::Memory,
            Failure::Recursion => Self::Recursion,
            Failure::Crashed(why) => Self::Crashed(why),
        }
    }
}
