//! Exit codes, the same for every command.

use crate::client::Refused;
use std::{fmt, process::ExitCode};

/// How a command ended. [`EXIT_CODES`] describes them in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; a run that was waited for completed.
    Done = 0,
    /// The run failed or was canceled, or a check found an error.
    Failed = 1,
    /// Invalid usage.
    Usage = 2,
    /// The server refused the request.
    Refused = 3,
    /// The server could not be reached or failed, or something on this machine failed.
    Trouble = 4,
    /// The run waits for a person.
    AwaitingInput = 5,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "  0  done; a run that was waited for completed
  1  the run failed or was canceled, or a check found an error
  2  invalid usage: an unknown option, an input that is not JSON, a file that does not exist
  3  refused by the server (4xx), or by what is deployed; stderr says why
  4  trouble: no connection, a 5xx, a damaged data directory, a port in use
  5  the run waits for a person: answer with `runyard runs input`
130  interrupted by Ctrl-C; the run itself goes on";

impl Exit {
    /// The exit code of an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<Usage>() {
            return Self::Usage;
        }
        #[cfg(feature = "aws")]
        if error.is::<Conflict>() {
            return Self::Refused;
        }
        match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status < 500 => Self::Refused,
            _ => Self::Trouble,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Invalid usage of a command.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A [`Usage`] error for `?`.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// A deployment that conflicts with what is deployed.
#[cfg(feature = "aws")]
#[derive(Debug)]
struct Conflict(String);

#[cfg(feature = "aws")]
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(feature = "aws")]
impl std::error::Error for Conflict {}

/// A [`Conflict`] error for `?`.
#[cfg(feature = "aws")]
pub(crate) fn refused(message: impl Into<String>) -> anyhow::Error {
    Conflict(message.into()).into()
}
