//! Errors and warnings of workflow files, with their positions.

use super::built::Built;
use saphyr_parser::Marker;
use std::fmt;

/// A position in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePos {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl SourcePos {
    pub(crate) fn of(marker: Marker) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
    }
}

/// One error or warning of a workflow file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is in the file.
    pub spot: SourcePos,
    /// What is wrong, and what was probably meant; without the position.
    pub message: String,
}

/// The errors of a workflow file, from top to bottom. Displayed with one line `file:line:column: message` each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadErrors {
    /// The file's name.
    pub file: String,
    /// The errors, at least one.
    pub mistakes: Vec<Mistake>,
    /// The warnings of the part of the file that was read.
    pub warnings: Vec<Mistake>,
}

impl LoadErrors {
    /// Truncates long messages.
    pub(crate) fn shortened(mut self) -> Self {
        for mistake in self.mistakes.iter_mut().chain(&mut self.warnings) {
            mistake.message = shortened(std::mem::take(&mut mistake.message), MAX_REPORTED_BYTES);
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

/// Errors that are reported of one file, and as many warnings.
const MAX_MISTAKES: usize = 100;
/// Bytes of a message when it is kept, and when it is reported. Secrets are masked in between. A kept message may
/// be longer than any secret, because a truncated secret would not be recognized.
const MAX_KEPT_BYTES: usize = 128 << 10;
const MAX_REPORTED_BYTES: usize = 600;

/// Collects errors and warnings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mistakes {
    found: Vec<Mistake>,
    warnings: Vec<Mistake>,
    /// How many errors there were, including those that are not kept.
    count: usize,
    /// How much of the file may still be compiled.
    built: Built,
}

impl Mistakes {
    pub(crate) fn add(&mut self, spot: SourcePos, message: String) {
        self.count += 1;
        if self.found.len() < MAX_MISTAKES {
            self.found.push(Mistake { spot, message: shortened(message, MAX_KEPT_BYTES) });
        }
    }

    pub(crate) fn warn(&mut self, spot: SourcePos, message: String) {
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

    /// Whether no further error is kept, so that looking for more is useless.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_MISTAKES
    }

    /// Whether no further warning is kept.
    pub(super) fn is_tired(&self) -> bool {
        self.warnings.len() >= MAX_MISTAKES
    }

    /// How much of the file may still be compiled.
    pub(super) fn built(&mut self) -> &mut Built {
        &mut self.built
    }

    /// The errors from top to bottom, without duplicates.
    pub(crate) fn into_sorted(self) -> Vec<Mistake> {
        sorted(self.found)
    }

    pub(crate) fn into_warnings(self) -> Vec<Mistake> {
        sorted(self.warnings)
    }

    pub(crate) fn into_errors(self, file: &str) -> LoadErrors {
        let Self { found: mut mistakes, warnings, .. } = self;
        // Once the limit is reached, validation stops.
        let may_be_more = mistakes.len() >= MAX_MISTAKES;
        mistakes = sorted(mistakes);
        if let Some(last) = mistakes.last().filter(|_| may_be_more) {
            let message = format!("there may be more errors: at most {MAX_MISTAKES} are reported");
            mistakes.push(Mistake { spot: last.spot, message });
        }
        LoadErrors { file: file.to_owned(), mistakes, warnings: sorted(warnings) }
    }
}

/// Truncates a long message.
fn shortened(mut message: String, max: usize) -> String {
    if message.len() > max {
        message.truncate(message.floor_char_boundary(max));
        message.push('…');
    }
    message
}

fn sorted(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by(|one, other| (one.spot, &one.message).cmp(&(other.spot, &other.message)));
    mistakes.dedup();
    mistakes
}
