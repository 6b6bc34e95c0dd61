//! Other people's text on a terminal or in a log: nothing in it moves the cursor, changes the terminal, turns the order of
//! letters around or passes for a line of ours.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character changes more than its own place: control characters (C0, DEL, C1) but line breaks and tabs,
/// characters that turn the direction of text, and line separators.
fn is_active(char: char) -> bool {
    match char {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

/// A text of any number of lines. What is not shown as it is stands there as `\u{1b}`.
pub fn text(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\r' if rest.peek() == Some(&'\n') => {}
            active if is_active(active) => drop(write!(shown, "{}", active.escape_unicode())),
            plain => shown.push(plain),
        }
    }
    Cow::Owned(shown)
}

/// A text whose further lines are indented, so that none of them passes for a line of ours.
pub fn indented<'t>(whole: &'t str, indent: &str) -> Cow<'t, str> {
    let shown = text(whole);
    if shown.contains('\n') { Cow::Owned(shown.replace('\n', &format!("\n{indent}"))) } else { shown }
}

/// A text in one line.
pub fn line(whole: &str) -> Cow<'_, str> {
    let shown = text(whole);
    if shown.contains(['\n', '\t']) {
        Cow::Owned(shown.replace('\n', "\\n").replace('\t', "\\t"))
    } else {
        shown
    }
}

/// A JSON text, escaped where JSON does not ask for it but a terminal would act on it. Its line breaks stay.
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        // All of them are of the basic plane, so one escape is enough.
        if is_active(char) {
            let _ = write!(shown, "\\u{:04x}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str =
        "a\u{1b}[2J\u{7}\u{9b}31m\u{7f}\r\nFAKE\r\u{202e}b\u{2066}\u{200f}\u{2028}ü\t\u{feff}c";

    #[test]
    fn nothing_active_is_left() {
        for shown in [text(EVIL), line(EVIL), indented(EVIL, "    "), json(EVIL)] {
            assert!(!shown.contains(is_active), "{shown:?}");
        }
        assert_eq!(
            text(EVIL),
            "a\\u{1b}[2J\\u{7}\\u{9b}31m\\u{7f}\nFAKE\\u{d}\\u{202e}b\\u{2066}\\u{200f}\\u{2028}ü\t\u{feff}c"
        );
        assert!(!line(EVIL).contains(['\n', '\t']) && line(EVIL).contains("\\nFAKE"));
        assert!(indented(EVIL, "    ").contains("\n    FAKE"));
        for plain in ["", "ordinary\ntext\twith ü and 😀"] {
            assert!(matches!(text(plain), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({ EVIL: [EVIL, "\u{2029}\u{85}"] });
        for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = json(&written);
            assert!(!shown.contains(is_active));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
