//! The encoded forms in which a secret may appear.

use super::SHORTEST;
use crate::python_json;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Write as _};

/// Longer secrets are searched for in pieces of this many bytes.
const MAX_PIECE_BYTES: usize = 2048;
/// Each line of a multi-line secret, such as a private key, is searched for separately if it has at least this many
/// bytes.
const MIN_LINE_BYTES: usize = 16;
/// Characters of Base64 that are specific enough to be masked.
const MIN_ENCODED_CHARS: usize = 8;

/// All forms of the secrets.
pub(super) fn of_all(secrets: &BTreeSet<String>) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for secret in secrets {
        let secret = secret.trim();
        pieces(secret).for_each(|piece| add(piece, &mut forms));
        if secret.contains(['\n', '\r']) {
            let lines = secret.lines().map(str::trim);
            lines
                .filter(|line| line.len() >= MIN_LINE_BYTES && !line.starts_with("-----"))
                .flat_map(pieces)
                .for_each(|piece| add(piece, &mut forms));
        }
    }
    forms
}

fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(MAX_PIECE_BYTES));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn add(secret: &str, forms: &mut BTreeSet<String>) {
    if secret.len() < SHORTEST {
        return;
    }
    let value = Value::String(secret.to_owned());
    for json in [python_json::ascii(&value), python_json::unicode(&value)] {
        forms.insert(json[1..json.len() - 1].to_owned());
    }
    for (space, kept) in [("%20", ""), ("+", ""), ("%20", "/"), ("%20", "/:@!$&'()*,;=")] {
        let encoded = percent(secret, space, kept, false);
        forms.insert(percent(secret, space, kept, true));
        forms.insert(encoded);
    }
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    forms.insert(html.replace('"', "&quot;").replace('\'', "&#x27;"));
    forms.insert(html.replace('"', "&#34;").replace('\'', "&#39;"));
    forms.insert(secret.to_owned());
    for before in 0..3 {
        base64(secret, before, forms);
    }
}

fn percent(text: &str, space: &str, kept: &str, lower: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push_str(space),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte if kept.as_bytes().contains(&byte) => encoded.push(char::from(byte)),
            byte if lower => drop(write!(encoded, "%{byte:02x}")),
            byte => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// The Base64 characters that depend only on the secret, if it begins `before` bytes after a multiple of three in the
/// encoded text.
fn base64(secret: &str, before: usize, forms: &mut BTreeSet<String>) {
    let text = [&vec![0; before][..], secret.as_bytes()].concat();
    let encoded = BASE64_STANDARD_NO_PAD.encode(&text);
    let alone = &encoded[(before * 8).div_ceil(6)..text.len() * 8 / 6];
    if alone.len() >= MIN_ENCODED_CHARS {
        forms.insert(alone.replace('+', "-").replace('/', "_"));
        forms.insert(alone.to_owned());
    }
}
