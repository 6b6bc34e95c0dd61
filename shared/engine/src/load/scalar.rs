//! The meaning of an unquoted word in YAML 1.1, as the reference reads it: `no` is false, `017` is 15, `12:30` is 750,
//! `1e3` is a number, and dates stay text.

use super::yaml::YamlValue;
use saphyr_parser::Tag;
use serde_json::Number;

/// The meaning of a plain scalar.
pub(crate) fn resolve(text: &str) -> Result<YamlValue, String> {
    if text.is_empty() || matches!(text, "~" | "null" | "Null" | "NULL") {
        return Ok(YamlValue::Null);
    }
    if let Some(flag) = boolean(text) {
        return Ok(YamlValue::Bool(flag));
    }
    if text == "=" {
        return Err("a bare `=` means nothing in YAML 1.1; quote it".into());
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Ok(YamlValue::Text(text.to_owned()));
    }
    if let Some(number) = integer(text) {
        return Ok(YamlValue::Number(number));
    }
    match float(text) {
        Some(number) => finite(number).map(YamlValue::Number),
        None => Ok(YamlValue::Text(text.to_owned())),
    }
}

/// The meaning of a scalar with a tag, like `!!str 5`.
pub(crate) fn tagged(tag: &Tag, text: &str) -> Result<YamlValue, String> {
    let name = format!("{}{}", tag.handle, tag.suffix);
    let wrong = || format!("`{text}` is not a valid {}", tag.suffix);
    match name.as_str() {
        "!" | "tag:yaml.org,2002:str" => Ok(YamlValue::Text(text.to_owned())),
        "tag:yaml.org,2002:null" => Ok(YamlValue::Null),
        "tag:yaml.org,2002:bool" => boolean(text).map(YamlValue::Bool).ok_or_else(wrong),
        "tag:yaml.org,2002:int" => integer(text).map(YamlValue::Number).ok_or_else(wrong),
        "tag:yaml.org,2002:float" => float(text)
            .or_else(|| text.parse().ok())
            .ok_or_else(wrong)
            .and_then(|number| finite(number).map(YamlValue::Number)),
        _ => Err(format!("the tag `{tag}` is not supported; remove it")),
    }
}

/// Parses the words for true and false of YAML 1.1.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = signed(text);
    let magnitude = if let Some(binary) = digits.strip_prefix("0b") {
        radix(binary, 2)?
    } else if let Some(hexadecimal) = digits.strip_prefix("0x") {
        radix(hexadecimal, 16)?
    } else if digits == "0" {
        0
    } else if let Some(octal) = digits.strip_prefix('0') {
        if octal.bytes().all(|byte| byte == b'_') { 0 } else { radix(octal, 8)? }
    } else if digits.starts_with(|first: char| first.is_ascii_digit()) {
        let mut parts = digits.split(':');
        let mut total = radix(parts.next()?, 10)?;
        for part in parts {
            total = total.checked_mul(60)?.checked_add(u128::from(sexagesimal(part)?))?;
        }
        total
    } else {
        return None;
    };
    whole(negative, magnitude)
}

/// Digits of `base` with `_` anywhere; `None` also beyond 128 bits.
fn radix(digits: &str, base: u32) -> Option<u128> {
    let plain: String = digits.chars().filter(|digit| *digit != '_').collect();
    if plain.is_empty() || plain.starts_with(['+', '-']) {
        return None;
    }
    u128::from_str_radix(&plain, base).ok()
}

fn sexagesimal(part: &str) -> Option<u8> {
    let digits = matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
    part.parse().ok().filter(|number| digits && *number < 60)
}

fn whole(negative: bool, magnitude: u128) -> Option<Number> {
    let number = i128::try_from(magnitude).ok()?;
    Number::from_i128(if negative { -number } else { number })
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn float(text: &str) -> Option<f64> {
    let (negative, digits) = signed(text);
    let magnitude = match digits {
        ".inf" | ".Inf" | ".INF" => f64::INFINITY,
        ".nan" | ".NaN" | ".NAN" if digits == text => f64::NAN,
        _ if digits.contains(':') => sexagesimal_float(digits)?,
        _ => decimal(digits, digits.len() < text.len())?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `1.5`, `1.`, `1.5e3`, `1e3`, `.5`, `.5e+3`; `signed` is whether a sign precedes it. A number that begins with a dot
/// has no sign, and its exponent must have one; a number without a dot must have an exponent.
fn decimal(digits: &str, signed: bool) -> Option<f64> {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let are_loose = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    // Groups of digits with one `_` between them.
    let are_groups = |part: &str| part.split('_').all(are_digits);
    let exponent_sign = exponent.is_some_and(|exponent| exponent.starts_with(['+', '-']));
    if let Some(exponent) = exponent
        && !are_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
    {
        return None;
    }
    let fits = match mantissa.split_once('.') {
        Some(("", after)) => {
            after.starts_with(|first: char| first.is_ascii_digit())
                && are_loose(after)
                && !signed
                && (exponent.is_none() || exponent_sign)
        }
        Some((before, after)) => {
            before.starts_with(|first: char| first.is_ascii_digit())
                && are_loose(before)
                && are_loose(after)
                && (exponent.is_none() || exponent_sign || are_groups(before))
        }
        None => exponent.is_some() && are_groups(mantissa),
    };
    if !fits {
        return None;
    }
    digits.chars().filter(|digit| *digit != '_').collect::<String>().parse().ok()
}

fn sexagesimal_float(digits: &str) -> Option<f64> {
    let (whole, fraction) = digits.split_once('.')?;
    let mut parts = whole.split(':');
    let mut total: f64 = parts.next()?.replace('_', "").parse().ok()?;
    for part in parts {
        total = total * 60.0 + f64::from(sexagesimal(part)?);
    }
    let fraction: String = fraction.chars().filter(|digit| *digit != '_').collect();
    if fraction.is_empty() {
        return Some(total);
    }
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(total + format!("0.{fraction}").parse::<f64>().ok()?)
}

fn finite(number: f64) -> Result<Number, String> {
    Number::from_f64(number).ok_or_else(|| format!("{number} cannot be written as JSON"))
}
