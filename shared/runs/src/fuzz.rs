//! What `cargo fuzz` tries, and the tests replay: JSON that others wrote.

use crate::{MAX_NESTING, Size, holds_more_values, is_too_deep, parse_json};
use runyard_fuzzing::{Target, parts, text};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[("json", json)];

/// How many values a text may hold, and the text.
///
/// # Panics
///
/// If a promise is broken.
pub fn json(input: &[u8]) {
    let [most, written] = parts(input);
    let most = text(most).trim().parse().unwrap_or(1_000);
    let is_more = holds_more_values(written, most);
    let Ok(value) = parse_json(written, most) else { return };
    assert!(!is_more);
    let size = Size::of(&value);
    assert_eq!(size.depth > MAX_NESTING, is_too_deep(&value));
    // Of what is too deep not all is counted; of equal keys one is kept.
    assert!(size.values <= most, "{} values", size.values);
    assert!(parse_json(value.to_string().as_bytes(), most).is_ok(), "what was read is not read again");
}

#[cfg(test)]
mod tests {
    #[test]
    fn corpora() {
        runyard_fuzzing::replay(super::TARGETS);
    }
}
