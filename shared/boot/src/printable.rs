//! Escapes untrusted text for a terminal or a log: it cannot move the cursor, change the terminal, reverse the order of
//! letters or imitate another log line.

use std::{borrow::Cow, fmt::Write as _};

/// Returns whether a character affects more than its own position: control characters (C0, DEL, C1) except line breaks and
/// tabs, characters that change the direction of text, and line separators.
fn is_active(char: char) -> bool {
    match char {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

/// Escapes a text with any number of lines: a harmful character becomes, for example, `\u{1b}`.
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

/// Escapes a text, and indents its further lines, so that none of them can imitate a log line.
pub fn indented<'t>(whole: &'t str, indent: &str) -> Cow<'t, str> {
    let shown = text(whole);
    if shown.contains('\n') { Cow::Owned(shown.replace('\n', &format!("\n{indent}"))) } else { shown }
}

/// Escapes a text, including its line breaks and tabs, so that it is one line.
pub fn line(whole: &str) -> Cow<'_, str> {
    let shown = text(whole);
    if shown.contains(['\n', '\t']) {
        Cow::Owned(shown.replace('\n', "\\n").replace('\t', "\\t"))
    } else {
        shown
    }
}

/// Escapes the characters of a JSON text that JSON permits but a terminal would interpret. Keeps its line breaks.
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        // All of them are in the Basic Multilingual Plane, so one escape is enough.
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
    fn active_characters_are_escaped() {
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
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({ EVIL: [EVIL, "\u{2029}\u{85}"] });
        for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = json(&written);
            assert!(!shown.contains(is_active));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
