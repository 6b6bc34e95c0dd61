//! What commands print. All output goes through here: much of it is untrusted text, from a server or a file, which must
//! not change the terminal or look like a line of this program.

use anyhow::Result;
use runyard_boot::printable;
use serde_json::Value;
use std::io::{self, Write};

/// A JSON document on stdout: pretty for people, in one line for scripts.
pub(crate) fn json(value: &Value, compact: bool) -> Result<()> {
    let text = if compact { value.to_string() } else { serde_json::to_string_pretty(value)? };
    print(&printable::json(&text))
}

/// Prints one or more lines on stdout.
pub(crate) fn line(text: &str) -> Result<()> {
    print(&printable::text(text))
}

/// Prints a line on stderr; further lines of `text` are indented.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{}", printable::indented(text, "    "));
}

/// Prints rows under headings, with aligned columns, one line per row.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let rows: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| printable::line(cell)).collect()).collect();
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            let padding = width - cell.chars().count() + 2;
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', padding));
        }
        print(text.trim_end())
    };
    show(&mut headings.iter().copied())?;
    rows.iter().try_for_each(|row| show(&mut row.iter().map(|cell| &**cell)))
}

/// A reader that closed the pipe (`runyard … | head`) is not an error.
fn print(text: &str) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A JSON document in one line.
pub(crate) fn json_compact(value: &Value) -> Result<()> {
    json(value, true)
}
