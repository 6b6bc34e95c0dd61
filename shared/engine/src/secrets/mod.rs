//! An app's secrets: the values of its environment variables and of its connections. In text that leaves the engine,
//! they are replaced by `***`.
//!
//! There are two sets. In *errors and logs*, all these values are masked. In *outputs*, which other nodes process, only
//! values are masked that are secret by their name or position (a key, a token, a password, a header of a connection):
//! an ordinary setting, such as the name of a model, may appear in an output.
//!
//! A value is found unencoded and as encoded in URLs, JSON, HTML and Base64. Values shorter than [`SHORTEST`] bytes are
//! not masked: they would match too much.

mod forms;
mod gather;
mod stream;

pub(crate) use gather::Gather;
pub(crate) use stream::StreamMask;

use crate::flow::{Halt, NodeError};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeSet, fmt, sync::Arc};

/// What replaces a secret.
pub(crate) const MASK: &str = "***";
/// Bytes of the shortest value that is masked.
pub(crate) const SHORTEST: usize = 6;

/// The secrets of one version of an app.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Values that are masked in errors and logs; includes `outputs`.
    errors: Option<Matcher>,
    /// Values that are masked in outputs.
    outputs: Option<Matcher>,
}

struct Matcher {
    automaton: AhoCorasick,
    patterns: Vec<String>,
}

/// Omits the secrets.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// `outputs` are masked everywhere, `others` only in errors and logs.
    fn new(outputs: &BTreeSet<String>, others: &BTreeSet<String>) -> Self {
        let outputs = forms::of_all(outputs);
        let errors = outputs.iter().cloned().chain(forms::of_all(others)).collect();
        Self { errors: Matcher::new(errors), outputs: Matcher::new(outputs) }
    }

    /// Masks a text for an error, an event or a log line.
    pub(crate) fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.errors {
            Some(matcher) => matcher.hide(text),
            None => Cow::Borrowed(text),
        }
    }

    /// Like [`Secrets::hide`], for an owned text.
    pub(crate) fn hide_in_text(&self, text: String) -> String {
        match self.hide(&text) {
            Cow::Owned(hidden) => hidden,
            Cow::Borrowed(_) => text,
        }
    }

    pub(crate) fn hide_in_error(&self, mut error: NodeError) -> NodeError {
        if self.errors.is_some() {
            error.message = self.hide_in_text(error.message);
            for failed in &mut error.failed_nodes {
                failed.message = self.hide(&failed.message).into_owned();
            }
        }
        error
    }

    pub(crate) fn hide_in_halt(&self, halt: Halt) -> Halt {
        match halt {
            Halt::Failed(error) => Halt::Failed(self.hide_in_error(error)),
            halt => halt,
        }
    }

    /// Masks an output. It is copied only if it contains a secret.
    pub(crate) fn hide_in_output(&self, output: Arc<Value>) -> Arc<Value> {
        match &self.outputs {
            Some(matcher) if matcher.occurs_in(&output) => {
                let mut output = (*output).clone();
                matcher.replace_in(&mut output);
                Arc::new(output)
            }
            _ => output,
        }
    }

    /// Whether nothing is masked in outputs.
    pub(crate) fn outputs_hold_none(&self) -> bool {
        self.outputs.is_none()
    }

    /// Masks a part of an output.
    pub(crate) fn hide_in_value(&self, value: &mut Value) {
        if let Some(matcher) = self.outputs.as_ref().filter(|matcher| matcher.occurs_in(value)) {
            matcher.replace_in(value);
        }
    }

    /// Masks a text of an output.
    pub(crate) fn hide_in_content(&self, text: String) -> String {
        match self.outputs.as_ref().map(|matcher| matcher.hide(&text)) {
            Some(Cow::Owned(hidden)) => hidden,
            _ => text,
        }
    }

    /// Masks bytes from outside: a response may repeat secrets of its request.
    pub(crate) fn hide_in_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match &self.outputs {
            Some(matcher) if matcher.automaton.is_match(&bytes) => {
                let masks = vec![MASK; matcher.patterns.len()];
                matcher.automaton.replace_all_bytes(&bytes, &masks)
            }
            _ => bytes,
        }
    }

    /// Whether a text contains a value that is masked in outputs.
    pub(crate) fn occur_in(&self, text: &str) -> bool {
        self.outputs.as_ref().is_some_and(|matcher| matcher.automaton.is_match(text))
    }
}

impl Matcher {
    /// `None` without patterns.
    fn new(patterns: BTreeSet<String>) -> Option<Self> {
        if patterns.is_empty() {
            return None;
        }
        let patterns: Vec<String> = patterns.into_iter().collect();
        // Of values with the same beginning, the longest match wins; otherwise the rest of it would be shown.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // Other kinds are faster, but take a hundred times the memory.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns);
        automaton.ok().map(|automaton| Self { automaton, patterns })
    }

    fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.automaton.is_match(text) {
            return Cow::Borrowed(text);
        }
        let mut hidden = String::with_capacity(text.len());
        self.automaton.replace_all_with(text, &mut hidden, |_, _, hidden| {
            hidden.push_str(MASK);
            true
        });
        Cow::Owned(hidden)
    }

    fn occurs_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.automaton.is_match(text),
            Value::Array(items) => items.iter().any(|item| self.occurs_in(item)),
            Value::Object(map) => {
                map.iter().any(|(key, value)| self.automaton.is_match(key) || self.occurs_in(value))
            }
            _ => false,
        }
    }

    fn replace_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(hidden) = self.hide(text) {
                    *text = hidden;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace_in(item)),
            Value::Object(map) => {
                if map.keys().any(|key| self.automaton.is_match(key)) {
                    let hidden = std::mem::take(map);
                    *map = hidden
                        .into_iter()
                        .map(|(key, value)| (self.hide(&key).into_owned(), value))
                        .collect();
                }
                map.values_mut().for_each(|value| self.replace_in(value));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secrets(outputs: &[&str], others: &[&str]) -> Secrets {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Secrets::new(&set(outputs), &set(others))
    }

    #[test]
    fn masks_every_encoded_form() {
        let secret = "p/w+ \"ü\"&x";
        let secrets = secrets(&[secret], &[]);
        for shown in [
            secret,
            "p%2Fw%2B%20%22%C3%BC%22%26x",
            "p%2Fw%2B+%22%C3%BC%22%26x",
            "p%2fw%2b%20%22%c3%bc%22%26x",
            "p/w%2B%20%22%C3%BC%22%26x",
            r#"p/w+ \"ü\"&x"#,
            r#"p/w+ \"\u00fc\"&x"#,
            "p/w+ &quot;ü&quot;&amp;x",
        ] {
            assert_eq!(secrets.hide(&format!("<{shown}>")), "<***>", "{shown}");
            assert!(secrets.occur_in(shown), "{shown}");
        }
    }

    #[test]
    fn masks_base64_at_any_offset() {
        use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
        let secrets = secrets(&["hunter2-and-more"], &[]);
        for before in ["", "u", "me", "you", "user:"] {
            let text = format!("{before}hunter2-and-more?");
            for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
                let hidden = secrets.hide(&encoded).into_owned();
                assert!(hidden.contains(MASK) && hidden.len() < 20, "{before}: {hidden}");
            }
        }
    }

    #[test]
    fn masks_the_longest_match() {
        let secrets = secrets(&["secret", "secret-of-mine"], &["secret-of-mine-too"]);
        assert_eq!(secrets.hide("secret-of-mine-too, secret-of-mine, secret"), "***, ***, ***");
    }

    #[test]
    fn outputs_show_ordinary_settings() {
        let secrets = secrets(&["key-4711"], &["gpt-4o-mini"]);
        let output = json!({"model": "gpt-4o-mini", "echo": ["key-4711"], "key-4711": 1});
        let hidden = secrets.hide_in_output(Arc::new(output));
        assert_eq!(*hidden, json!({"model": "gpt-4o-mini", "echo": ["***"], "***": 1}));
        assert_eq!(secrets.hide("gpt-4o-mini with key-4711"), "*** with ***");
        assert_eq!(secrets.hide_in_bytes(b"\xff key-4711".to_vec()), b"\xff ***");
    }

    #[test]
    fn outputs_without_secrets_are_not_copied() {
        let output = Arc::new(json!({"a": ["b"]}));
        assert!(Arc::ptr_eq(&output, &secrets(&["key-4711"], &[]).hide_in_output(Arc::clone(&output))));
        assert!(Arc::ptr_eq(&output, &Secrets::default().hide_in_output(Arc::clone(&output))));
    }
}
