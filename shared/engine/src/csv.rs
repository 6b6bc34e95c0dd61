//! CSV as Python's `csv` module reads and writes it. Existing files rely on its leniency: a quote in the middle of a
//! field is literal, and rows may differ in length.

use std::{iter::Peekable, str::Chars};

/// Limit on the length of a field, in characters; Python's default.
const MAX_FIELD_CHARACTERS: usize = 131_072;

/// Why a CSV text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("a field without quotes contains a carriage return")]
    CarriageReturn,
    #[error("text follows a closing quote")]
    AfterQuote,
    #[error("the text ends within quotes")]
    Unclosed,
    #[error("a field has more than {MAX_FIELD_CHARACTERS} characters")]
    LongField,
    #[error("the delimiter must be one character")]
    Delimiter,
}

/// Where a row may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// At a line feed; a carriage return must precede one.
    Feed,
    /// At a line feed or a carriage return, as in a file.
    Any,
}

/// The rows of a CSV text. An empty line is an empty row.
pub(crate) struct Rows<'t> {
    text: Peekable<Chars<'t>>,
    delimiter: char,
    lines: Lines,
    /// Whether text after a closing quote, or an unclosed quote, is an error.
    strict: bool,
}

impl<'t> Rows<'t> {
    pub(crate) fn new(text: &'t str, delimiter: char) -> Self {
        Self { text: text.chars().peekable(), delimiter, lines: Lines::Feed, strict: false }
    }

    pub(crate) fn of_file(text: &'t str, delimiter: char, strict: bool) -> Self {
        Self { lines: Lines::Any, strict, ..Self::new(text, delimiter) }
    }

    /// Consumes the rest of a line end that begins with `first`.
    fn end_line(&mut self, first: char) -> Result<(), Error> {
        let mut last = first;
        while last == '\r' {
            match self.text.peek() {
                Some(next @ ('\r' | '\n')) if *next == '\n' || self.lines == Lines::Feed => last = *next,
                None => return Ok(()),
                Some(_) if self.lines == Lines::Any => return Ok(()),
                Some(_) => return Err(Error::CarriageReturn),
            }
            self.text.next();
        }
        Ok(())
    }

    fn row(&mut self) -> Result<Vec<String>, Error> {
        let mut row = Vec::new();
        let mut field = Field::default();
        if let Some(first @ ('\r' | '\n')) = self.text.peek().copied() {
            self.text.next();
            return self.end_line(first).map(|()| row);
        }
        while let Some(character) = self.text.next() {
            match character {
                '"' if field.is_quoted => {
                    if self.text.next_if_eq(&'"').is_some() {
                        field.push('"')?;
                        continue;
                    }
                    field.is_quoted = false;
                    let ends = |next: &char| *next == self.delimiter || matches!(next, '\r' | '\n');
                    if self.strict && self.text.peek().is_some_and(|next| !ends(next)) {
                        return Err(Error::AfterQuote);
                    }
                }
                _ if field.is_quoted => field.push(character)?,
                '"' if !field.has_begun => (field.is_quoted, field.has_begun) = (true, true),
                '\r' | '\n' => {
                    row.push(field.text);
                    return self.end_line(character).map(|()| row);
                }
                _ if character == self.delimiter => row.push(std::mem::take(&mut field).text),
                _ => field.push(character)?,
            }
        }
        if field.is_quoted && self.strict {
            return Err(Error::Unclosed);
        }
        row.push(field.text);
        Ok(row)
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Vec<String>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.text.peek()?;
        Some(self.row())
    }
}

#[derive(Default)]
struct Field {
    text: String,
    characters: usize,
    has_begun: bool,
    is_quoted: bool,
}

impl Field {
    fn push(&mut self, character: char) -> Result<(), Error> {
        self.has_begun = true;
        self.characters += 1;
        if self.characters > MAX_FIELD_CHARACTERS {
            return Err(Error::LongField);
        }
        self.text.push(character);
        Ok(())
    }
}

/// Parses a delimiter, which must be one character.
pub(crate) fn delimiter(text: &str) -> Result<char, Error> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(delimiter), None) if !matches!(delimiter, '\r' | '\n' | '"') => Ok(delimiter),
        _ => Err(Error::Delimiter),
    }
}

/// Appends a row as `csv.writer` writes it, with quotes where needed.
pub(crate) fn write_row<'f>(fields: impl IntoIterator<Item = &'f str>, text: &mut String) {
    let start = text.len();
    let mut count = 0;
    for field in fields {
        if count > 0 {
            text.push(',');
        }
        count += 1;
        if field.contains([',', '"', '\r', '\n']) {
            text.push('"');
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(field);
        }
    }
    // Without quotes, a row of one empty field would be read back as an empty line.
    if count == 1 && text.len() == start {
        text.push_str("\"\"");
    }
    text.push_str("\r\n");
}

/// Returns the delimiter, if the text looks like a table: it has at least two lines, and at least 80 % of the first ten
/// have the same width.
pub(crate) fn table_delimiter(text: &str) -> Option<char> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(10).collect();
    let sample = lines.join("\n");
    [',', '\t'].into_iter().find(|delimiter| {
        let widths: Vec<usize> = Rows::new(&sample, *delimiter)
            .filter_map(Result::ok)
            .filter(|row| row.iter().any(|cell| !cell.trim().is_empty()))
            .map(|row| row.len())
            .collect();
        let count = |width: usize| widths.iter().filter(|other| **other == width).count();
        let common_width = widths.iter().copied().max_by_key(|width| count(*width)).unwrap_or(0);
        widths.len() >= 2 && common_width >= 2 && count(common_width) * 5 >= widths.len() * 4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: Rows<'_>) -> Result<Vec<Vec<String>>, Error> {
        rows.collect()
    }

    #[test]
    fn reads_as_python_does() {
        for (text, rows) in [
            ("a,b\r\n1,2", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("a,\n,\n", vec![vec!["a", ""], vec!["", ""]]),
            ("a\n\nb\n", vec![vec!["a"], vec![], vec!["b"]]),
            ("\"a,\n\"\"b\"\"\",c", vec![vec!["a,\n\"b\"", "c"]]),
            ("a\"b\",\"c\"d\n\"e", vec![vec!["a\"b\"", "cd"], vec!["e"]]),
            ("\"\"\n", vec![vec![""]]),
            ("", vec![]),
        ] {
            assert_eq!(read(Rows::new(text, ',')).expect(text), rows, "{text:?}");
        }
        assert_eq!(read(Rows::of_file("a\rb\r\nc", ',', true)).expect("rows").len(), 3);
    }

    #[test]
    fn refuses_as_python_does() {
        assert_eq!(read(Rows::new("a\rb", ',')), Err(Error::CarriageReturn));
        assert_eq!(read(Rows::of_file("\"a\"b", ',', true)), Err(Error::AfterQuote));
        assert_eq!(read(Rows::of_file("\"a", ',', true)), Err(Error::Unclosed));
        assert_eq!(read(Rows::new(&"x".repeat(MAX_FIELD_CHARACTERS + 1), ',')), Err(Error::LongField));
        assert_eq!(delimiter("::"), Err(Error::Delimiter));
    }

    #[test]
    fn writes_what_it_reads() {
        let row = ["a", "b,c", "d\"e", "f\ng", ""];
        let mut text = String::new();
        write_row(row, &mut text);
        assert_eq!(text, "a,\"b,c\",\"d\"\"e\",\"f\ng\",\r\n");
        assert_eq!(read(Rows::new(&text, ',')).expect("rows"), [row]);
        text.clear();
        write_row([""], &mut text);
        assert_eq!(text, "\"\"\r\n");
    }

    #[test]
    fn distinguishes_tables_from_other_texts() {
        assert_eq!(table_delimiter("a,b\n1,2\n"), Some(','));
        assert_eq!(table_delimiter("a\tb\n1\t2\n"), Some('\t'));
        assert_eq!(table_delimiter("Dear all,\nhello"), None);
        assert_eq!(table_delimiter("a,b"), None);
    }
}
