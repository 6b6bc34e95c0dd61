//! Problems of an app's files.

use super::yaml::Position;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A problem of an app's file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub path: PathBuf,
    /// Line and column, from 1, if the problem has a position.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A problem of a file whose path the caller knows.
#[derive(Debug)]
pub(super) struct Complaint {
    place: Option<Position>,
    message: String,
}

impl Complaint {
    pub(super) fn at(place: Position, message: impl Into<String>) -> Self {
        Self { place: Some(place), message: message.into() }
    }

    pub(super) fn of_file(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }

    pub(super) fn about(self, path: &Path) -> Problem {
        let place = self.place.map(|place| (place.line, place.column));
        Problem { path: path.to_owned(), place, message: self.message }
    }
}
