//! What commands print on stdout.

use anyhow::Result;
use serde_json::Value;
use std::io::{self, Write};

/// A JSON document: pretty for people, in one line for scripts.
pub(crate) fn json(value: &Value, compact: bool) -> Result<()> {
    let text = if compact { value.to_string() } else { serde_json::to_string_pretty(value)? };
    line(&text)
}

/// A line. That nobody reads on (`runyard … | head`) is no error.
pub(crate) fn line(text: &str) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Rows under headings, columns aligned.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: &[String]| {
        let mut text = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            let padding = width - cell.chars().count() + 2;
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', padding));
        }
        line(text.trim_end())
    };
    show(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| show(row))
}

/// A JSON document in one line.
pub(crate) fn json_compact(value: &Value) -> Result<()> {
    json(value, true)
}
