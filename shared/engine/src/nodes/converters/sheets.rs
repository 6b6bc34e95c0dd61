//! Reads the sheets of Excel workbooks.

use super::{MAX_TEXT_BYTES, archive::Archive};
use crate::{flow::NodeError, python_text};
use calamine::{DataRef, ExcelDateTime, Reader, Xlsx};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Display, io::Cursor};

/// Limit on the cells of a workbook, counting empty cells before others in their row.
const MAX_CELLS: usize = 2_000_000;

/// A sheet of a workbook.
#[derive(Debug)]
pub(in crate::nodes) struct Sheet {
    pub(in crate::nodes) name: String,
    /// The rows that are not empty, with their numbers from 1.
    pub(in crate::nodes) rows: Vec<(u32, Vec<Cell>)>,
}

/// The value of a cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::nodes) enum Cell {
    #[default]
    Empty,
    Bool(bool),
    Float(f64),
    Int(i64),
    Text(String),
    /// A date and a time, as `2026-01-31 12:00:00`.
    Time(String),
}

impl Cell {
    /// The value as Python's `str` writes it; empty for an empty cell.
    pub(in crate::nodes) fn text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) | Self::Time(text) => text.clone(),
            other => python_text::str(&other.json()),
        }
    }

    pub(in crate::nodes) fn json(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Float(number) => (*number).into(),
            Self::Int(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Time(text) => text.replacen(' ', "T", 1).into(),
        }
    }
}

/// Reads all sheets of a workbook.
pub(in crate::nodes) fn read(bytes: &[u8]) -> Result<Vec<Sheet>, NodeError> {
    Archive::open(bytes)?.check_bounds()?;
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(unreadable)?;
    let mut remaining = Remaining { cells: MAX_CELLS, text: MAX_TEXT_BYTES };
    let names = workbook.sheet_names();
    let read = |name: String| {
        let mut rows: BTreeMap<u32, Vec<Cell>> = BTreeMap::new();
        let mut cells = workbook.worksheet_cells_reader(&name).map_err(unreadable)?;
        while let Some(found) = cells.next_cell().map_err(unreadable)? {
            let (row, column) = found.get_position();
            let cell = cell(found.get_value());
            if cell == Cell::Empty {
                continue;
            }
            let row = rows.entry(row + 1).or_default();
            let column = column as usize;
            remaining.take(&cell, (column + 1).saturating_sub(row.len()))?;
            if row.len() <= column {
                row.resize(column + 1, Cell::Empty);
            }
            row[column] = cell;
        }
        drop(cells);
        Ok(Sheet { name, rows: rows.into_iter().collect() })
    };
    names.into_iter().map(read).collect()
}

/// The cells, and the bytes of text, that may still be read.
struct Remaining {
    cells: usize,
    text: usize,
}

impl Remaining {
    fn take(&mut self, cell: &Cell, cells: usize) -> Result<(), NodeError> {
        let bytes = if let Cell::Text(text) = cell { text.len() } else { 0 };
        match (self.cells.checked_sub(cells), self.text.checked_sub(bytes)) {
            (Some(cells), Some(text)) => {
                *self = Self { cells, text };
                Ok(())
            }
            _ => Err(NodeError::limit_exceeded(format!(
                "the workbook has more than {MAX_CELLS} cells or {} MiB of text, counting empty cells \
                 before others in their row",
                MAX_TEXT_BYTES >> 20
            ))),
        }
    }
}

fn cell(value: &DataRef<'_>) -> Cell {
    match value {
        DataRef::Int(number) => Cell::Int(*number),
        DataRef::Float(number) => number_cell(*number),
        DataRef::String(text) => text_cell(text),
        DataRef::SharedString(text) => text_cell(text),
        DataRef::Bool(flag) => Cell::Bool(*flag),
        DataRef::DateTime(time) => Cell::Time(time_text(time)),
        DataRef::DateTimeIso(text) => Cell::Time(text.replacen('T', " ", 1)),
        DataRef::DurationIso(text) => Cell::Text(text.clone()),
        DataRef::Error(error) => Cell::Text(error.to_string()),
        DataRef::Empty => Cell::Empty,
    }
}

fn text_cell(text: &str) -> Cell {
    if text.is_empty() { Cell::Empty } else { Cell::Text(text.to_owned()) }
}

/// Converts a number. Excel has only floating point numbers; files hold integers without a decimal point.
fn number_cell(number: f64) -> Cell {
    if number.fract() != 0.0 || number.abs() >= 9e15 {
        return Cell::Float(number);
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and within bounds, as just checked")]
    Cell::Int(number as i64)
}

/// Writes a time: a date and a time, only a time of day, or a duration, which may have many days.
fn time_text(time: &ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
    let clock = format!("{minute:02}:{second:02}");
    let days = time.as_f64();
    if time.is_duration() {
        let plural = if days >= 2.0 { "s" } else { "" };
        let days = if days >= 1.0 { format!("{} day{plural}, ", days.trunc()) } else { String::new() };
        return format!("{days}{hour}:{clock}");
    }
    if (0.0..1.0).contains(&days) {
        return format!("{hour:02}:{clock}");
    }
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{clock}")
}

fn unreadable(problem: impl Display) -> NodeError {
    NodeError::new("ValueError", format!("the workbook cannot be read: {problem}")).lasting()
}
