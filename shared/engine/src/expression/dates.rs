//! Parses dates and amounts as documents write them.

use super::value::Val;
use jiff::civil::Date;

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Characters of a value that are quoted in an error.
const MAX_QUOTED_CHARS: usize = 80;

/// A value's `repr`, shortened for an error.
pub(crate) fn quoted(value: &Val<'_>) -> String {
    let text = value.repr();
    if text.chars().count() <= MAX_QUOTED_CHARS {
        return text;
    }
    text.chars().take(MAX_QUOTED_CHARS - 1).chain(['…']).collect()
}

/// The date that a value is or contains as text; else why it is not a date.
pub(crate) fn date(value: &Val<'_>, format: Option<&str>) -> Result<Date, String> {
    let text = match value {
        Val::Date(date) => return Ok(*date),
        Val::Text(text) => text.trim(),
        _ => return Err(format!("not a date: {}", quoted(value))),
    };
    if let Some(format) = format {
        return Date::strptime(format, text)
            .map_err(|_| format!("not a date: {} (format '{format}')", quoted(value)));
    }
    let Some((year, month, day)) = parts(text) else {
        return Err(format!("not a date: {}", quoted(value)));
    };
    let wrong = |why: &str| format!("not a date: {} ({why})", quoted(value));
    if !(1..=12).contains(&month) {
        return Err(wrong("month must be in 1..12"));
    }
    if !(1..=9999).contains(&year) {
        return Err(wrong(&format!("year {year} is out of range")));
    }
    Date::new(year, month, day).map_err(|_| wrong("day is out of range for month"))
}

/// Year, month and day of a text in one of the formats that documents use.
fn parts(text: &str) -> Option<(i16, i8, i8)> {
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(iso) = text.get(..10)
        && let [year, month, day] = iso.split('-').collect::<Vec<_>>()[..]
        && digits(year, 4..=4)
        && digits(month, 2..=2)
        && digits(day, 2..=2)
    {
        return Some((year.parse().ok()?, month.parse().ok()?, day.parse().ok()?));
    }
    if let [one, two, three] = text.split('/').collect::<Vec<_>>()[..] {
        if digits(one, 1..=2) && digits(two, 1..=2) && digits(three, 4..=4) {
            return Some((three.parse().ok()?, one.parse().ok()?, two.parse().ok()?));
        }
        if digits(one, 4..=4) && digits(two, 1..=2) && digits(three, 1..=2) {
            return Some((one.parse().ok()?, two.parse().ok()?, three.parse().ok()?));
        }
        return None;
    }
    let words: Vec<&str> = text
        .split(|character: char| character.is_whitespace() || matches!(character, ',' | '-'))
        .filter(|word| !word.is_empty())
        .collect();
    let [one, two, year] = words[..] else { return None };
    let (month, day) = if one.starts_with(|first: char| first.is_ascii_digit()) {
        (two, one)
    } else if text.contains('-') {
        return None;
    } else {
        (one, two)
    };
    let lower = day.to_ascii_lowercase();
    let day = ["st", "nd", "rd", "th"].iter().find_map(|ending| lower.strip_suffix(ending)).unwrap_or(&lower);
    if !digits(day, 1..=2) || !digits(year, 4..=4) {
        return None;
    }
    Some((year.parse().ok()?, month_of(month)?, day.parse().ok()?))
}

fn month_of(word: &str) -> Option<i8> {
    let word = word.strip_suffix('.').unwrap_or(word).to_lowercase();
    let index = MONTHS.iter().position(|month| {
        *month == word
            || (word.len() == 3 && month.starts_with(&word))
            || (word == "sept" && *month == "september")
    })?;
    i8::try_from(index + 1).ok()
}

const CURRENCIES: &str = "$€£¥₹₩₽₺₪₫₱₦₴¤";

/// The number that a text contains, if it is unambiguous.
pub(crate) fn amount<'a>(written: &str, decimal: char) -> Option<Val<'a>> {
    let grouping = if decimal == '.' { ',' } else { '.' };
    let characters: Vec<char> = written.replace('\u{2212}', "-").chars().collect();
    let is_separator = |character: char| matches!(character, '.' | ',');
    let mut body = String::new();
    let mut index = 0;
    while index < characters.len() {
        let character = characters[index];
        if !character.is_whitespace() {
            body.push(if CURRENCIES.contains(character) { '¤' } else { character });
            index += 1;
            continue;
        }
        let start = index;
        while index < characters.len() && characters[index].is_whitespace() {
            index += 1;
        }
        let before = start.checked_sub(1).map(|index| characters[index]);
        let after = characters.get(index).copied();
        // `100, 200` may be one amount or two.
        if before.is_some_and(is_separator) || after.is_some_and(is_separator) {
            return None;
        }
        let between_digits =
            before.is_some_and(|c| c.is_ascii_digit()) && after.is_some_and(|c| c.is_ascii_digit());
        if between_digits {
            if written.contains(grouping) {
                return None;
            }
            body.push(grouping);
        }
    }
    let body = without_currency(&body)?;
    let (body, negative) = match body.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => (inner, true),
        None => (body.as_str(), false),
    };
    let body = body.strip_suffix('%').unwrap_or(body);
    let (sign, unsigned) = match body.strip_prefix(['+', '-']) {
        Some(rest) => (&body[..1], rest),
        None => ("", body),
    };
    if negative && !sign.is_empty() {
        return None;
    }
    let (whole, fraction) = match unsigned.split_once(decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let whole = if whole.contains(grouping) { grouped(whole, grouping)? } else { whole.to_owned() };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(&whole) || fraction.is_some_and(|fraction| !is_digits(fraction)) {
        return None;
    }
    match fraction {
        None => {
            let number: i128 = format!("{sign}{whole}").parse().ok()?;
            Some(Val::Int(if negative { -number } else { number }))
        }
        Some(fraction) => {
            let number: f64 = format!("{sign}{whole}.{fraction}").parse().ok()?;
            let number = if negative { -number } else { number };
            number.is_finite().then_some(Val::Float(number))
        }
    }
}

/// Removes the currency sign, of which an amount may have one, at its beginning or end.
fn without_currency(body: &str) -> Option<String> {
    if body.matches('¤').count() > 1 {
        return None;
    }
    let Some(sign) = body.find('¤') else { return Some(body.to_owned()) };
    let (before, after) = (&body[..sign], &body[sign + '¤'.len_utf8()..]);
    let leads = matches!(before, "" | "(" | "+" | "-" | "(+" | "(-");
    let ends = matches!(after, "" | ")");
    (leads || ends).then(|| format!("{before}{after}"))
}

/// The digits of a number with correctly grouped thousands.
fn grouped(whole: &str, grouping: char) -> Option<String> {
    let mut groups = whole.split(grouping);
    let first = groups.next()?;
    let is_first = (1..=3).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_digit())
        && !first.starts_with('0');
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
    (is_first && groups.all(is_group)).then(|| whole.replace(grouping, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_dates() {
        for (text, expected) in [
            ("2026-08-07", "2026-08-07"),
            ("2026-08-07T10:00:00Z", "2026-08-07"),
            ("8/7/2026", "2026-08-07"),
            ("2026/08/07", "2026-08-07"),
            ("Aug 7, 2026", "2026-08-07"),
            ("August 7th, 2026", "2026-08-07"),
            ("7 Aug 2026", "2026-08-07"),
            ("07-AUG-2026", "2026-08-07"),
            ("Sept. 1 2026", "2026-09-01"),
        ] {
            assert_eq!(
                date(&Val::Text(text.into()), None).map(|date| date.to_string()).as_deref(),
                Ok(expected)
            );
        }
        for (text, problem) in [
            ("March", "not a date: 'March'"),
            ("02/29/2025", "not a date: '02/29/2025' (day is out of range for month)"),
            ("13/01/2025", "not a date: '13/01/2025' (month must be in 1..12)"),
        ] {
            assert_eq!(date(&Val::Text(text.into()), None), Err(problem.to_owned()));
        }
    }

    #[test]
    fn parses_amounts() {
        for (text, expected) in [
            ("1,234,567.89", "1234567.89"),
            ("$ 5", "5"),
            ("5 €", "5"),
            ("($1,200.50)", "-1200.5"),
            ("6.25%", "6.25"),
            ("\u{2212}5", "-5"),
            ("1 234 567", "1234567"),
            ("+7", "7"),
        ] {
            assert_eq!(amount(text, '.').map(|value| value.repr()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(amount("1.234,56", ',').map(|value| value.repr()).as_deref(), Some("1234.56"));
        for text in [
            "12,5",
            "12 5",
            "100, 200",
            "1,23,456",
            "USD 1,000",
            "1e5",
            "nan",
            "TBD",
            "",
            "$100 $200",
            "(-5)",
        ] {
            assert!(amount(text, '.').is_none(), "{text}");
        }
    }
}
