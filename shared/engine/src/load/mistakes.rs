//! What is wrong with a workflow file, and where.

use saphyr_parser::Marker;
use std::fmt;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Spot {
    pub(crate) fn of(marker: Marker) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
    }
}

/// One thing that is wrong with a workflow file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub spot: Spot,
    /// What is wrong, and what was probably meant.
    pub message: String,
}

/// All that is wrong with a workflow file, from top to bottom. Shows as one line `file:line:column: message` each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadErrors {
    /// The file's name.
    pub file: String,
    /// At least one.
    pub mistakes: Vec<Mistake>,
    /// What is probably not meant, as far as the file was read.
    pub warnings: Vec<Mistake>,
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { spot, message }) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}:{}: {message}", self.file, spot.line, spot.column)?;
        }
        Ok(())
    }
}

/// Collects mistakes, and what is none but probably not meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mistakes {
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Mistakes {
    pub(crate) fn add(&mut self, spot: Spot, message: String) {
        self.mistakes.push(Mistake { spot, message });
    }

    pub(crate) fn warn(&mut self, spot: Spot, message: String) {
        self.warnings.push(Mistake { spot, message });
    }

    pub(crate) fn count(&self) -> usize {
        self.mistakes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// From top to bottom, each once.
    pub(crate) fn into_sorted(self) -> Vec<Mistake> {
        sorted(self.mistakes)
    }

    pub(crate) fn into_warnings(self) -> Vec<Mistake> {
        sorted(self.warnings)
    }

    pub(crate) fn into_errors(self, file: &str) -> LoadErrors {
        let Self { mistakes, warnings } = self;
        LoadErrors { file: file.to_owned(), mistakes: sorted(mistakes), warnings: sorted(warnings) }
    }
}

fn sorted(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by(|one, other| (one.spot, &one.message).cmp(&(other.spot, &other.message)));
    mistakes.dedup();
    mistakes
}
