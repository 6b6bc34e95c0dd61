//! Exit codes, the same for every command.

use crate::client::Refused;
use std::{fmt, process::ExitCode};

/// How a command ended. Told to people by [`EXIT_CODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked; a run that it waited for completed.
    Done = 0,
    /// The run failed or was canceled, or a check found something wrong.
    Failed = 1,
    /// It was not called rightly.
    Usage = 2,
    /// The server refused the request.
    Refused = 3,
    /// The server could not be reached or failed, or something on this machine did.
    Trouble = 4,
    /// The run waits for a person.
    AwaitingInput = 5,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "  0  done; a run that was waited for completed
  1  the run failed or was canceled, or a check found something wrong
  2  wrong usage: an unknown option, an input that is no JSON, a file that is not there
  3  refused by the server (a 4xx), or by what is deployed: what was wrong stands on stderr
  4  trouble: no connection, a 5xx, a damaged data directory, a port in use
  5  the run waits for a person: answer with `runyard runs input`
130  interrupted by Ctrl-C; the run itself goes on";

impl Exit {
    /// What an error comes to.
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

/// A command that was not called rightly.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// [`Usage`], made where `?` wants it.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// A deployment that contradicts another.
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

/// [`Conflict`], made where `?` wants it.
#[cfg(feature = "aws")]
pub(crate) fn refused(message: impl Into<String>) -> anyhow::Error {
    Conflict(message.into()).into()
}
