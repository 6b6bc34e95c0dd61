//! Messages of rules: text with expressions, conditions and loops.

use super::{Expression, Fault, Mode, Val, eval::Evaluation, scope::Scope};
use crate::compute;
use jiff::civil::Date;

/// A compiled message.
#[derive(Debug)]
pub(crate) struct Message(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Value(Expression),
    /// The branches with their conditions, and the `else` branch.
    If(Vec<(Expression, Vec<Self>)>, Vec<Self>),
    /// The loop's variables, the items, and the body.
    For(Vec<String>, Expression, Vec<Self>),
}

/// How deep parts of a message may nest.
const MAX_DEPTH: usize = 16;
/// Bytes of a message.
const MAX_BYTES: usize = 64 << 10;

impl Message {
    /// Compiles `text`; the error says what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text, depth: 0, trim: false };
        let (pieces, end) = reader.pieces()?;
        match end {
            None => Ok(Self(pieces)),
            Some(tag) => Err(format!("`{{% {tag} %}}` has no opening tag")),
        }
    }

    /// Renders the message for a record.
    pub(crate) fn render(&self, scope: &Scope<'_>, today: Date) -> Result<String, Fault> {
        let mut text = String::new();
        render(&self.0, scope, today, &mut text)?;
        Ok(text)
    }
}

fn render(pieces: &[Piece], scope: &Scope<'_>, today: Date, text: &mut String) -> Result<(), Fault> {
    for piece in pieces {
        compute::step(1)?;
        if text.len() > MAX_BYTES {
            return Err(Fault::Failed("ValueError", format!("a message has at most {MAX_BYTES} bytes")));
        }
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Value(expression) => match expression.evaluate(scope, today).result? {
                // A value that could not be parsed is printed unchanged.
                Val::Unreadable(unreadable) => text.push_str(&Val::owned(unreadable.value).text()),
                value => text.push_str(&value.text()),
            },
            Piece::If(parts, otherwise) => {
                let mut taken = otherwise;
                for (condition, part) in parts {
                    let value = condition.evaluate(scope, today).result?;
                    if Evaluation::new(condition, scope, today).truth(&value)? {
                        taken = part;
                        break;
                    }
                }
                render(taken, scope, today, text)?;
            }
            Piece::For(names, items, part) => {
                let value = items.evaluate(scope, today).result?;
                for item in Evaluation::new(items, scope, today).items_of(&value)? {
                    let parts = if names.len() == 1 { vec![item] } else { item.items().unwrap_or_default() };
                    let mut values: Vec<_> = names.iter().cloned().zip(parts).collect();
                    scope.values.iter().try_for_each(|(_, value)| value.weigh(compute::make))?;
                    values.extend(scope.values.iter().cloned());
                    render(part, &Scope { input: scope.input, values }, today, text)?;
                }
            }
        }
    }
    Ok(())
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
    /// Whether white space at the beginning of the next text is removed.
    trim: bool,
}

/// Pieces, and the tag that ended them.
type Pieces = (Vec<Piece>, Option<String>);

impl Reader<'_> {
    fn pieces(&mut self) -> Result<Pieces, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it nests too deep".into());
        }
        let mut pieces = Vec::new();
        loop {
            let start = ["{{", "{%", "{#"].iter().filter_map(|mark| self.rest.find(mark)).min();
            let Some(start) = start else {
                pieces.push(Piece::Text(self.text(self.rest.len(), false)));
                self.rest = "";
                break;
            };
            let trims = self.rest[start + 2..].starts_with('-');
            pieces.push(Piece::Text(self.text(start, trims)));
            let mark = &self.rest[start..start + 2];
            let close = match mark {
                "{{" => "}}",
                "{%" => "%}",
                _ => "#}",
            };
            let after = start + 2 + usize::from(trims);
            let end =
                self.rest[after..].find(close).ok_or_else(|| format!("`{mark}` lacks its `{close}`"))?;
            let body = &self.rest[after..after + end];
            let (body, trim) = body.strip_suffix('-').map_or((body, false), |body| (body, true));
            self.rest = &self.rest[after + end + 2..];
            self.trim = trim;
            let body = body.trim();
            match mark {
                "{{" => pieces.push(Piece::Value(expression(body)?)),
                "{%" => {
                    let (word, rest) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
                    match word {
                        "if" => pieces.push(self.condition(rest)?),
                        "for" => pieces.push(self.each(rest)?),
                        "elif" | "else" | "endif" | "endfor" => {
                            self.depth -= 1;
                            return Ok((pieces, Some(body.to_owned())));
                        }
                        _ => return Err(format!("`{{% {word} %}}` is not supported in a message")),
                    }
                }
                _ => {}
            }
        }
        self.depth -= 1;
        Ok((pieces, None))
    }

    fn text(&self, end: usize, trims: bool) -> String {
        let text = &self.rest[..end];
        let text = if self.trim { text.trim_start() } else { text };
        if trims { text.trim_end() } else { text }.to_owned()
    }

    fn condition(&mut self, first: &str) -> Result<Piece, String> {
        let mut parts = Vec::new();
        let mut condition = expression(first)?;
        loop {
            let (part, end) = self.pieces()?;
            parts.push((condition, part));
            let end = end.ok_or("`{% if %}` lacks its `{% endif %}`")?;
            if let Some(next) = end.strip_prefix("elif ") {
                condition = expression(next)?;
                continue;
            }
            return match end.as_str() {
                "endif" => Ok(Piece::If(parts, Vec::new())),
                "else" => match self.pieces()? {
                    (otherwise, Some(end)) if end == "endif" => Ok(Piece::If(parts, otherwise)),
                    _ => Err("`{% else %}` lacks its `{% endif %}`".into()),
                },
                _ => Err(format!("`{{% {end} %}}` does not close `{{% if %}}`")),
            };
        }
    }

    fn each(&mut self, body: &str) -> Result<Piece, String> {
        let (names, items) = body.split_once(" in ").ok_or("`{% for %}` lacks its `in`")?;
        let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        let items = expression(items)?;
        match self.pieces()? {
            (part, Some(end)) if end == "endfor" => Ok(Piece::For(names, items, part)),
            _ => Err("`{% for %}` lacks its `{% endfor %}`".into()),
        }
    }
}

fn expression(text: &str) -> Result<Expression, String> {
    Expression::new(text, Mode::Strict)
}
