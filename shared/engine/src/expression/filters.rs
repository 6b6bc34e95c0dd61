//! Filters and tests. Those that need only JSON are shared with templates.

#![expect(clippy::needless_pass_by_value, reason = "operands are not used afterwards")]

use super::{
    eval::{Evaluation, binary, text_of},
    helpers::{absolute, extreme, rounded},
    methods,
    parse::Comparison,
    value::{Evaluated, Fault, Val, order},
};
use crate::{compute, template};
use serde_json::Value;
use std::cmp::Ordering;

const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "wordwrap",
];
const TESTS: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "blank",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "present",
    "sameas",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
];

/// Filters that return a blank value unchanged.
const OF_TEXT: &[&str] = &["lower", "upper", "trim", "title", "capitalize", "replace", "string"];

pub(super) fn is_filter(name: &str) -> bool {
    FILTERS.contains(&name)
}

pub(super) fn is_test(name: &str) -> bool {
    TESTS.contains(&name)
}

type Named<'a> = Vec<(String, Val<'a>)>;

fn named<'v, 'a>(named: &'v Named<'a>, key: &str) -> Option<&'v Val<'a>> {
    named.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

impl<'a> Evaluation<'_, 'a> {
    #[expect(clippy::too_many_lines, reason = "one table of filters")]
    pub(super) fn filter(
        &self,
        name: &str,
        value: Val<'a>,
        placed: Vec<Val<'a>>,
        by_name: Named<'a>,
    ) -> Evaluated<'a> {
        compute::step(1)?;
        if OF_TEXT.contains(&name) && value.is_blank_marker() {
            return Ok(value);
        }
        let argument = |index: usize, key: &str| placed.get(index).or_else(|| named(&by_name, key)).cloned();
        let flag = |index: usize, key: &str| argument(index, key).is_some_and(|flag| flag.is_true());
        match name {
            "d" | "default" => {
                let replaced =
                    matches!(value, Val::Missing(_)) || (flag(1, "boolean") && !self.truth(&value)?);
                let fallback = || argument(0, "default_value").unwrap_or_else(|| Val::Text(String::new()));
                Ok(if replaced { fallback() } else { value })
            }
            "string" => text_of(&value).map(Val::Text),
            "lower" => Ok(Val::Text(text_of(&value)?.to_lowercase())),
            "upper" => Ok(Val::Text(text_of(&value)?.to_uppercase())),
            "trim" if placed.is_empty() && by_name.is_empty() => {
                Ok(Val::Text(text_of(&value)?.trim().to_owned()))
            }
            "abs" => absolute(value.used()?),
            "int" => Ok(as_int(&value.used()?)
                .map_or_else(|| argument(0, "default").unwrap_or(Val::Int(0)), Val::Int)),
            "float" => {
                let number = match &value.used()? {
                    Val::Text(text) => text.trim().parse().ok(),
                    value => value.as_f64(),
                };
                Ok(number.map_or_else(|| argument(0, "default").unwrap_or(Val::Float(0.0)), Val::Float))
            }
            "round" => round(value.used()?, argument(0, "precision"), argument(1, "method")),
            "count" | "length" => self.helper("len", vec![value], Vec::new()),
            "first" | "last" => {
                let mut items = self.items_of(&value)?;
                let item = if name == "last" { items.pop() } else { items.into_iter().next() };
                let none = || Val::undefined(format!("No {name} item, sequence was empty."));
                Ok(item.unwrap_or_else(none))
            }
            "list" => self.items_of(&value).map(Val::List),
            "items" => match value {
                Val::Missing(_) => Ok(Val::Lazy(Vec::new())),
                value if value.is_mapping() => {
                    let pairs = value.entries().unwrap_or_default().into_iter();
                    Ok(Val::Lazy(pairs.map(|(key, value)| Val::Tuple(vec![key, value])).collect()))
                }
                _ => Err(Fault::type_error("Can only get item pairs from a mapping.")),
            },
            "reverse" => match value {
                Val::Text(text) => Ok(Val::Text(text.chars().rev().collect())),
                value => Ok(Val::Lazy(self.items_of(&value)?.into_iter().rev().collect())),
            },
            "join" => {
                let separator = argument(0, "d").map(|text| text_of(&text)).transpose()?.unwrap_or_default();
                let items = self.members(&value, argument(1, "attribute"))?;
                let mut texts = Vec::with_capacity(items.len());
                for item in &items {
                    let text = text_of(item)?;
                    compute::make(text.len().saturating_add(separator.len()))?;
                    texts.push(text);
                }
                Ok(Val::Text(texts.join(&separator)))
            }
            "sum" => {
                let items = self.members(&value, argument(0, "attribute"))?;
                self.sum(&Val::List(items), argument(1, "start").unwrap_or(Val::Int(0)))
            }
            "min" | "max" => {
                let items = self.members(&value, argument(1, "attribute"))?;
                if items.is_empty() {
                    return Ok(Val::undefined("No aggregated item, sequence was empty."));
                }
                extreme(items, if name == "min" { Ordering::Less } else { Ordering::Greater })
            }
            "sort" => {
                let is_exact = flag(1, "case_sensitive");
                let items = self.items_of(&value)?;
                let keys = self.members(&value, argument(2, "attribute"))?;
                sorted(items, keys, flag(0, "reverse"), is_exact).map(Val::List)
            }
            "unique" => {
                let is_exact = flag(0, "case_sensitive");
                let keys = self.members(&value, argument(1, "attribute"))?;
                let mut seen: Vec<Val<'a>> = Vec::new();
                let mut kept = Vec::new();
                for (item, key) in self.items_of(&value)?.into_iter().zip(keys) {
                    let key = folded(key.used()?, is_exact);
                    if !seen.iter().any(|known| super::value::equal(known, &key)) {
                        seen.push(key);
                        kept.push(item);
                    }
                }
                Ok(Val::Lazy(kept))
            }
            "attr" => match argument(0, "name") {
                Some(Val::Text(name)) => Ok(methods::attribute(&value.used()?, &name)
                    .unwrap_or_else(|| Val::undefined(format!("there is no attribute '{name}'")))),
                _ => Err(Fault::type_error("attr() needs the name of an attribute")),
            },
            "map" => {
                let items = self.items_of(&value)?;
                if let Some(attribute) = named(&by_name, "attribute") {
                    let fallback = named(&by_name, "default");
                    let member = |item: Val<'a>| match (self.member(item, attribute)?, fallback) {
                        (Val::Missing(_), Some(fallback)) => Ok(fallback.clone()),
                        (member, _) => Ok(member),
                    };
                    return items.into_iter().map(member).collect::<Result<_, _>>().map(Val::Lazy);
                }
                let Some((Val::Text(name), rest)) = placed.split_first() else {
                    return Err(Fault::Failed(
                        "FilterArgumentError",
                        "map requires a filter argument".into(),
                    ));
                };
                let each = |item| self.filter(name, item, rest.to_vec(), by_name.clone());
                items.into_iter().map(each).collect::<Result<_, _>>().map(Val::Lazy)
            }
            "select" | "reject" | "selectattr" | "rejectattr" => self.selected(name, &value, &placed),
            "format" => {
                let format = text_of(&value)?;
                printf(&format, &placed).map(Val::Text)
            }
            "safe" => Ok(value),
            _ => by_template(name, value, &placed, &by_name),
        }
    }

    /// The items of a value, or the value of an attribute of each item.
    fn members(&self, value: &Val<'a>, attribute: Option<Val<'a>>) -> Result<Vec<Val<'a>>, Fault> {
        let items = self.items_of(value)?;
        match attribute.filter(|attribute| !matches!(attribute, Val::None)) {
            None => Ok(items),
            Some(attribute) => items.into_iter().map(|item| self.member(item, &attribute)).collect(),
        }
    }

    /// The member of a value at a path such as `a.b.0`.
    fn member(&self, value: Val<'a>, attribute: &Val<'a>) -> Evaluated<'a> {
        let Val::Text(path) = attribute else { return self.item(value, attribute.clone()) };
        path.split('.').try_fold(value, |here, part| {
            let key = part.parse().map_or_else(|_| Val::Text(part.to_owned()), Val::Int);
            self.item(here, key)
        })
    }

    fn selected(&self, name: &str, value: &Val<'a>, placed: &[Val<'a>]) -> Evaluated<'a> {
        let (attribute, rest) = match (name.strip_suffix("attr"), placed) {
            (Some(_), [attribute, rest @ ..]) => (Some(attribute), rest),
            (Some(_), []) => {
                let message = format!("{name} requires an attribute");
                return Err(Fault::Failed("FilterArgumentError", message));
            }
            (None, rest) => (None, rest),
        };
        let wanted = name.starts_with("select");
        let mut kept = Vec::new();
        for item in self.items_of(value)? {
            let tested = match attribute {
                Some(attribute) => self.member(item.clone(), attribute)?,
                None => item.clone(),
            };
            let holds = match rest {
                [] => self.truth(&tested)?,
                [Val::Text(test), arguments @ ..] => self.test(test, &tested, arguments)?,
                _ => return Err(Fault::type_error("the name of a test must be text")),
            };
            if holds == wanted {
                kept.push(item);
            }
        }
        Ok(Val::Lazy(kept))
    }

    /// Returns whether a test holds.
    pub(super) fn test(&self, name: &str, value: &Val<'a>, placed: &[Val<'a>]) -> Result<bool, Fault> {
        compute::step(1)?;
        if let Val::Unreadable(unreadable) = value {
            return Err(Fault::Unreadable(unreadable.clone()));
        }
        let other =
            || placed.first().ok_or_else(|| Fault::type_error(format!("the test `{name}` needs a value")));
        let compared = |comparison| self.compare(comparison, value, other()?);
        Ok(match name {
            "defined" => !matches!(value, Val::Missing(_)),
            "undefined" => matches!(value, Val::Missing(_)),
            "none" => matches!(value, Val::None),
            "present" => !value.is_blank(),
            "blank" => value.is_blank(),
            "boolean" => matches!(value, Val::Bool(_)),
            "true" => matches!(value, Val::Bool(true)),
            "false" => matches!(value, Val::Bool(false)),
            "integer" => matches!(value, Val::Int(_)),
            "float" => matches!(value, Val::Float(_)),
            "number" => matches!(value, Val::Int(_) | Val::Float(_) | Val::Bool(_)),
            "string" => matches!(value, Val::Text(_)),
            "mapping" => value.is_mapping(),
            "sequence" => value.len().is_some(),
            "iterable" => value.items().is_some(),
            "callable" => matches!(value, Val::Method(..)),
            "sameas" => self.equals(value, other()?)? && value.type_name() == other()?.type_name(),
            "eq" | "equalto" | "==" => compared(Comparison::Equal)?,
            "ne" | "!=" => compared(Comparison::NotEqual)?,
            "lt" | "lessthan" | "<" => compared(Comparison::Less)?,
            "le" | "<=" => compared(Comparison::LessOrEqual)?,
            "gt" | "greaterthan" | ">" => compared(Comparison::Greater)?,
            "ge" | ">=" => compared(Comparison::GreaterOrEqual)?,
            "in" => compared(Comparison::In)?,
            "lower" | "upper" => {
                let text = text_of(value)?;
                let is_cased = text.chars().any(char::is_alphabetic);
                is_cased && text == if name == "lower" { text.to_lowercase() } else { text.to_uppercase() }
            }
            "odd" | "even" | "divisibleby" => {
                let by = if name == "divisibleby" { other()?.clone() } else { Val::Int(2) };
                let rest = binary(super::parse::Operator::Remainder, value.clone().used()?, by.used()?)?;
                rest.is_true() == (name == "odd")
            }
            _ => return Err(Fault::Failed("TemplateRuntimeError", format!("No test named '{name}' found."))),
        })
    }
}

/// Applies a filter of the templates.
fn by_template<'a>(name: &str, value: Val<'a>, placed: &[Val<'a>], by_name: &Named<'a>) -> Evaluated<'a> {
    let plain = |value: &Val<'a>| match value {
        Val::Missing(missing) if missing.blank => Err((*missing.fault).clone()),
        Val::Missing(_) => Ok(Value::String(String::new())),
        value => value.json(),
    };
    let arguments = placed.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let named = by_name.iter().map(|(name, value)| Ok((name.clone(), plain(value)?)));
    let named = named.collect::<Result<Vec<_>, Fault>>()?;
    if !is_filter(name) {
        return Err(Fault::Failed("TemplateRuntimeError", format!("No filter named '{name}' found.")));
    }
    let result = template::filter(&plain(&value)?, name, &arguments, &named);
    let result = result.map_err(|problem| Fault::Failed("ValueError", problem))?;
    Ok(match (name, result) {
        ("batch" | "slice", Value::Array(items)) => Val::Lazy(items.into_iter().map(Val::owned).collect()),
        (_, result) => Val::owned(result),
    })
}

fn sorted<'a>(
    items: Vec<Val<'a>>,
    keys: Vec<Val<'a>>,
    reverse: bool,
    is_exact: bool,
) -> Result<Vec<Val<'a>>, Fault> {
    let mut pairs = Vec::with_capacity(items.len());
    for (item, key) in items.into_iter().zip(keys) {
        pairs.push((folded(key.used()?, is_exact), item));
    }
    let mut fault = None;
    pairs.sort_by(|(one, _), (other, _)| {
        let (one, other) = if reverse { (other, one) } else { (one, other) };
        match order(one, other, "<") {
            Ok(order) => order.unwrap_or(Ordering::Equal),
            Err(problem) => {
                fault.get_or_insert(problem);
                Ordering::Equal
            }
        }
    });
    match fault {
        Some(fault) => Err(fault),
        None => Ok(pairs.into_iter().map(|(_, item)| item).collect()),
    }
}

fn round<'a>(value: Val<'a>, precision: Option<Val<'a>>, method: Option<Val<'a>>) -> Evaluated<'a> {
    let precision = precision.unwrap_or(Val::Int(0));
    let method = method.map_or_else(|| "common".to_owned(), |method| method.text());
    if method == "common" {
        return rounded(value, Some(precision));
    }
    let digits = precision.as_int().and_then(|digits| i32::try_from(digits).ok()).unwrap_or(0);
    let number = value.as_f64().ok_or_else(|| Fault::type_error("round() needs a number"))?;
    let unit = 10_f64.powi(digits);
    Ok(Val::Float(if method == "ceil" { (number * unit).ceil() } else { (number * unit).floor() } / unit))
}

/// Python's `format % values`.
pub(super) fn printf(format: &str, values: &[Val<'_>]) -> Result<String, Fault> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        text.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | ' ' | '0')))
            .ok_or_else(|| Fault::Failed("ValueError", "incomplete format".into()))?;
        let (spec, letter) = (&rest[..end], rest[end..].chars().next().unwrap_or_default());
        rest = &rest[end + letter.len_utf8()..];
        if letter == '%' {
            text.push('%');
            continue;
        }
        let value =
            values.next().ok_or_else(|| Fault::type_error("not enough arguments for format string"))?;
        let written = directive(spec, letter, value)?;
        compute::make(written.len())?;
        text.push_str(&written);
    }
    text.push_str(rest);
    if values.next().is_some() {
        return Err(Fault::type_error("not all arguments converted during string formatting"));
    }
    Ok(text)
}

fn directive(spec: &str, letter: char, value: &Val<'_>) -> Result<String, Fault> {
    let (width, precision) = spec.split_once('.').unwrap_or((spec, ""));
    let precision: Option<usize> = precision.parse().ok();
    let needs = |what: &str| {
        Fault::type_error(format!("%{letter} format: a {what} is required, not {}", value.type_name()))
    };
    let written = match letter {
        's' => text_of(value)?.chars().take(precision.unwrap_or(usize::MAX)).collect(),
        'r' => value.clone().used()?.repr(),
        'd' | 'i' => {
            let value = value.clone().used()?;
            let number = value.as_f64().ok_or_else(|| needs("real number"))?;
            value.as_int().map_or_else(|| format!("{:.0}", number.trunc()), |number| number.to_string())
        }
        'f' | 'F' => {
            let number = value.clone().used()?.as_f64().ok_or_else(|| needs("real number"))?;
            fixed(number, precision.unwrap_or(6))?
        }
        'x' => {
            let number = value.clone().used()?.as_int().ok_or_else(|| needs("integer"))?;
            format!("{number:x}")
        }
        _ => {
            let message = format!("unsupported format character '{letter}'");
            return Err(Fault::Failed("ValueError", message));
        }
    };
    let left = width.contains('-');
    let zeros = !left && width.trim_start_matches(['+', ' ']).starts_with('0');
    let signed = if width.contains('+') && letter != 's' && !written.starts_with('-') {
        format!("+{written}")
    } else {
        written
    };
    let wanted: usize = width.trim_start_matches(['-', '+', ' ', '0']).parse().unwrap_or(0);
    let padding = wanted.saturating_sub(signed.chars().count());
    compute::make(padding)?;
    Ok(if left {
        signed + &" ".repeat(padding)
    } else if zeros && letter != 's' {
        let (sign, digits) = signed.split_at(usize::from(signed.starts_with(['-', '+'])));
        format!("{sign}{}{digits}", "0".repeat(padding))
    } else {
        " ".repeat(padding) + &signed
    })
}

/// A number with a fixed number of digits after the point.
fn fixed(number: f64, precision: usize) -> Result<String, Fault> {
    compute::make(precision)?;
    // No float has more digits than that, and the formatter does not accept more.
    let native = precision.min(usize::from(u16::MAX));
    let mut written = format!("{number:.native$}");
    written.extend(std::iter::repeat_n('0', precision - native));
    Ok(written)
}

/// The key by which values are compared: without case, unless `is_exact`.
fn folded(value: Val<'_>, is_exact: bool) -> Val<'_> {
    match value {
        Val::Text(text) if !is_exact => Val::Text(text.to_lowercase()),
        value => value,
    }
}

fn as_int(value: &Val<'_>) -> Option<i128> {
    let truncated = |number: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "within bounds, as just checked")]
        (number.abs() < 1e38).then(|| number.trunc() as i128)
    };
    match value {
        Val::Text(text) => {
            let text = text.trim().replace('_', "");
            text.parse().ok().or_else(|| truncated(text.parse().ok()?))
        }
        Val::Float(number) => truncated(*number),
        value => value.as_int(),
    }
}
