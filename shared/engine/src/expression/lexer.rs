//! The tokens of an expression.

use serde_json::{Number, Value};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    /// A number or text.
    Literal(Value),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "(", ")", "[", "]", "{", "}",
    ",", ".", ":", "|", "=",
];

/// The tokens of `text`, the last of which is [`Token::End`]; an error at invalid text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Name(rest[..end].to_owned()), &rest[end..])
        } else if first.is_ascii_digit() {
            number(rest)?
        } else if matches!(first, '"' | '\'') {
            quoted(rest, first)?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), &rest[sign.len()..])
        } else {
            return Err(format!("unexpected character `{first}`"));
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens.push(Token::End);
    Ok(tokens)
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let mut end = digits(text);
    let mut is_float = false;
    if text[end..].starts_with('.') && text[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        end += 1 + digits(&text[end + 1..]);
        is_float = true;
    }
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
            end = text.len() - unsigned.len() + digits(unsigned);
            is_float = true;
        }
    }
    let plain = text[..end].replace('_', "");
    let number = if is_float {
        plain.parse().ok().and_then(Number::from_f64)
    } else {
        plain.parse::<i128>().ok().and_then(Number::from_i128)
    };
    let number = number.ok_or_else(|| format!("`{plain}` is too large a number"))?;
    Ok((Token::Literal(Value::Number(number)), &text[end..]))
}

fn quoted(text: &str, quote: char) -> Result<(Token, &str), String> {
    let mut value = String::new();
    let mut characters = text[1..].char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, escaped @ ('\\' | '\'' | '"'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            _ if character == quote => return Ok((Token::Literal(Value::String(value)), &text[index + 2..])),
            _ => value.push(character),
        }
    }
    Err("a text lacks its closing quote".into())
}
