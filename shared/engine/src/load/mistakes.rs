//! What is wrong with a workflow file, and where.

use super::built::Built;
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

impl LoadErrors {
    /// The same with the beginnings of long messages.
    pub(crate) fn shortened(mut self) -> Self {
        for mistake in self.mistakes.iter_mut().chain(&mut self.warnings) {
            mistake.message = shortened(std::mem::take(&mut mistake.message), MAX_TOLD_BYTES);
        }
        self
    }
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

/// Mistakes, and warnings, that one file is told at most.
const MAX_MISTAKES: usize = 100;
/// The longest message in bytes, as it is kept and as it is told. The first is larger than a secret may be: those are
/// masked in between, and half of one could not be told.
const MAX_KEPT_BYTES: usize = 128 << 10;
const MAX_TOLD_BYTES: usize = 600;

/// Collects mistakes, and what is none but probably not meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mistakes {
    found: Vec<Mistake>,
    warnings: Vec<Mistake>,
    /// How many there were, those that are not kept included.
    count: usize,
    /// What has been built of the file.
    built: Built,
}

impl Mistakes {
    pub(crate) fn add(&mut self, spot: Spot, message: String) {
        self.count += 1;
        if self.found.len() < MAX_MISTAKES {
            self.found.push(Mistake { spot, message: shortened(message, MAX_KEPT_BYTES) });
        }
    }

    pub(crate) fn warn(&mut self, spot: Spot, message: String) {
        if !self.is_tired() {
            self.warnings.push(Mistake { spot, message: shortened(message, MAX_KEPT_BYTES) });
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether no further mistake is kept, so that looking for more is of no use.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_MISTAKES
    }

    /// The same of warnings.
    pub(super) fn is_tired(&self) -> bool {
        self.warnings.len() >= MAX_MISTAKES
    }

    /// What has been built of the file, to be counted further.
    pub(super) fn built(&mut self) -> &mut Built {
        &mut self.built
    }

    /// From top to bottom, each once.
    pub(crate) fn into_sorted(self) -> Vec<Mistake> {
        sorted(self.found)
    }

    pub(crate) fn into_warnings(self) -> Vec<Mistake> {
        sorted(self.warnings)
    }

    pub(crate) fn into_errors(self, file: &str) -> LoadErrors {
        let Self { found: mut mistakes, warnings, .. } = self;
        // Once the limit is reached, no more are looked for.
        let may_be_more = mistakes.len() >= MAX_MISTAKES;
        mistakes = sorted(mistakes);
        if let Some(last) = mistakes.last().filter(|_| may_be_more) {
            let message = format!("there may be more mistakes: {MAX_MISTAKES} at most are told");
            mistakes.push(Mistake { spot: last.spot, message });
        }
        LoadErrors { file: file.to_owned(), mistakes, warnings: sorted(warnings) }
    }
}

/// The beginning of a long message.
fn shortened(mut message: String, most: usize) -> String {
    if message.len() > most {
        message.truncate(message.floor_char_boundary(most));
        message.push('…');
    }
    message
}

fn sorted(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by(|one, other| (one.spot, &one.message).cmp(&(other.spot, &other.message)));
    mistakes.dedup();
    mistakes
}
