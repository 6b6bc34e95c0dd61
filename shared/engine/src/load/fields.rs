//! Reads and validates the fields of a mapping.

use super::{
    Mistakes, SourcePos, scalar,
    yaml::{Yaml, YamlValue},
};
use crate::pattern::Pattern;
use serde_json::Value;
use std::cell::RefCell;

/// Entries of a list of mappings. Limited because lists without duplicates compare each entry with the earlier ones.
const MAX_ITEMS: usize = 5_000;

/// The fields of one mapping of the file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'y> {
    pub(crate) yaml: &'y Yaml,
    mistakes: &'y RefCell<Mistakes>,
}

impl<'y> Fields<'y> {
    /// `None`, with a reported error, if `yaml` is not a mapping. `what` names the value in the error.
    pub(crate) fn new(yaml: &'y Yaml, what: &str, mistakes: &'y RefCell<Mistakes>) -> Option<Self> {
        if yaml.is_map() {
            return Some(Self { yaml, mistakes });
        }
        let message = format!("{what} must be a mapping, but this is {}", yaml.kind());
        mistakes.borrow_mut().add(yaml.spot, message);
        None
    }

    pub(crate) fn mistake(&self, spot: SourcePos, message: String) {
        self.mistakes.borrow_mut().add(spot, message);
    }

    /// Whether as many errors have been found as are reported at most.
    pub(crate) fn is_full(&self) -> bool {
        self.mistakes.borrow().is_full()
    }

    /// Reports a warning.
    pub(crate) fn warn(&self, spot: SourcePos, message: String) {
        self.mistakes.borrow_mut().warn(spot, message);
    }

    /// The field, unless it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&'y Yaml> {
        self.yaml.get(key).filter(|value| !value.is_null())
    }

    /// Marks fields as known that the reference or its editors use, but the engine does not.
    pub(crate) fn know(&self, keys: &[&str]) {
        for key in keys {
            self.yaml.ask(key);
        }
    }

    /// The position of the field's value, or of the mapping if the field is missing.
    pub(crate) fn spot(&self, key: &str) -> SourcePos {
        self.yaml.get(key).map_or(self.yaml.spot, |value| value.spot)
    }

    pub(crate) fn json(&self, key: &str) -> Option<Value> {
        self.get(key).map(Yaml::to_json)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&'y str> {
        let value = self.get(key)?;
        let text = value.text();
        if text.is_none() {
            self.wrong(key, "text", value);
        }
        text
    }

    pub(crate) fn bool(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let flag = match &value.value {
            YamlValue::Bool(flag) => Some(*flag),
            YamlValue::Number(number) => match number.as_f64() {
                Some(0.0) => Some(false),
                Some(1.0) => Some(true),
                _ => None,
            },
            YamlValue::Text(text) => scalar::boolean(text),
            _ => None,
        };
        if flag.is_none() {
            self.wrong(key, "true or false", value);
        }
        flag
    }

    pub(crate) fn float(&self, key: &str) -> Option<f64> {
        let value = self.get(key)?;
        let number = match &value.value {
            YamlValue::Number(number) => number.as_f64(),
            YamlValue::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        if number.is_none() {
            self.wrong(key, "a number", value);
        }
        number
    }

    /// A non-negative integer.
    pub(crate) fn count(&self, key: &str) -> Option<u32> {
        let value = self.get(key)?;
        let number = match &value.value {
            YamlValue::Number(number) => number.as_f64(),
            YamlValue::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let whole = number.filter(|number| number.fract() == 0.0 && (0.0..4e9).contains(number));
        if whole.is_none() {
            self.wrong(key, "a non-negative integer", value);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "integral and within bounds, as just checked"
        )]
        whole.map(|number| number as u32)
    }

    pub(crate) fn fields(&self, key: &str) -> Option<Self> {
        Self::new(self.get(key)?, &format!("`{key}`"), self.mistakes)
    }

    pub(crate) fn list(&self, key: &str) -> Option<&'y [Yaml]> {
        let value = self.get(key)?;
        if let YamlValue::List(items) = &value.value {
            return Some(items);
        }
        self.wrong(key, "a list", value);
        None
    }

    /// Compiles the regular expression in the field `key`. The inner error, if it is invalid, counts only once it is
    /// used. `None`, with a reported error, if the file has too many.
    pub(crate) fn pattern(&self, key: &str, text: &str) -> Option<Result<Pattern, String>> {
        self.pattern_at(self.spot(key), || Pattern::python(text))
    }

    /// Like [`Fields::pattern`], for a regular expression at `spot`.
    pub(crate) fn pattern_at(
        &self,
        spot: SourcePos,
        compile: impl FnOnce() -> Result<Pattern, String>,
    ) -> Option<Result<Pattern, String>> {
        let mut mistakes = self.mistakes.borrow_mut();
        let compiled = mistakes.built().pattern().and_then(|()| {
            let compiled = compile();
            mistakes.built().compiled(compiled.as_ref().map_or(0, Pattern::size))?;
            Ok(compiled)
        });
        compiled.map_err(|problem| mistakes.add(spot, problem)).ok()
    }

    /// The items of a list of mappings; `what` names an item in errors.
    pub(crate) fn items(&self, key: &str, what: &str) -> Vec<Self> {
        let items = self.list(key).unwrap_or_default();
        if items.len() > MAX_ITEMS {
            self.mistake(
                self.spot(key),
                format!("`{key}` has {} entries, more than {MAX_ITEMS}", items.len()),
            );
            return Vec::new();
        }
        items.iter().filter_map(|item| Self::new(item, what, self.mistakes)).collect()
    }

    /// The meaning of the field's word, which must be one of `words`.
    pub(crate) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let word = self.text(key)?;
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            let message =
                format!("`{key}` is `{word}`, which is not one of {}{}", quoted(&known), meant(word, &known));
            self.mistake(self.spot(key), message);
        }
        found
    }

    fn wrong(&self, key: &str, expected: &str, value: &Yaml) {
        let message = format!("`{key}` must be {expected}, but this is {}", value.kind());
        self.mistake(value.spot, message);
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Limits on the words, and on the number of known words, that are searched for a typo: the cost of an error must not
/// grow with the file.
const MAX_WORD: usize = 64;
const MAX_WORDS: usize = 1_000;

/// `; did you mean …?` if one of `known` is similar, else empty.
pub(crate) fn meant(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

/// The word of `known` that is most similar to `word`, if it is similar enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let lower = word.to_lowercase();
    let max_distance = |known: &str| known.chars().count().max(word.chars().count()).div_ceil(3);
    known
        .iter()
        .take(MAX_WORDS)
        .filter(|known| {
            known.len() <= 2 * MAX_WORD && known.len().abs_diff(word.len()) <= 2 * max_distance(known)
        })
        .map(|known| (distance(&lower, &known.to_lowercase()), *known))
        .filter(|(distance, known)| *distance <= max_distance(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The word of `known` that differs from `word` by a letter or two. Short words are too similar to each other to
/// decide.
pub(crate) fn misspelt<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = word.to_lowercase();
    let max_distance = match word.chars().count() {
        4..7 => 1,
        7..=MAX_WORD => 2,
        _ => return None,
    };
    known
        .iter()
        .map(|known| (distance(&lower, known), *known))
        .filter(|(distance, known)| *distance <= max_distance && known.len() >= 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The Levenshtein distance: how many letters must be inserted, removed or changed.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
