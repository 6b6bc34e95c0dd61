//! Collects an app's secrets while its workflow file is loaded.

use super::{SHORTEST, Secrets};
use crate::load::{Yaml, YamlValue};
use reqwest::Url;
use serde_json::Value;
use std::collections::BTreeSet;

/// Parts of names that mark a value as a secret.
const SECRET_NAMES: &[&str] = &[
    "key",
    "token",
    "secret",
    "passw",
    "passphrase",
    "pwd",
    "credential",
    "auth",
    "cookie",
    "signature",
    "private",
    "bearer",
    "dsn",
    "jwt",
];
/// Headers whose values are not secret.
const PLAIN_HEADERS: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "openai-beta",
    "origin",
    "pragma",
    "prefer",
    "referer",
    "user-agent",
];
/// Fields of connections that describe a service, and may appear in errors.
const PLAIN_FIELDS: &[&str] = &[
    "api_type",
    "api_version",
    "description",
    "deployment_type",
    "grpc_host",
    "host",
    "http_host",
    "id",
    "method",
    "name",
    "region",
    "type",
    "url",
];
/// Bytes of the values that are collected from a workflow file. Searching for a value takes memory.
const MAX_BYTES: usize = 128 << 10;
/// A text of this many bytes or more is not an ordinary word.
const WORD_BYTES: usize = 12;
/// How deep values are searched.
const MAX_DEPTH: usize = 64;

/// The secrets found so far.
#[derive(Default)]
pub(crate) struct Gather {
    outputs: BTreeSet<String>,
    others: BTreeSet<String>,
    /// The values of environment variables.
    variables: Vec<String>,
    /// Bytes collected from the file.
    bytes: usize,
}

impl Gather {
    /// Adds the value of an environment variable. `is_secret`: whether the app stores it as a secret.
    pub(crate) fn variable(&mut self, name: &str, value: &str, is_secret: bool) {
        if value.trim().len() < SHORTEST {
            return;
        }
        self.variables.push(value.trim().to_owned());
        self.add(value, is_secret || is_secret_name(name));
        self.bytes = 0;
        // For example, a service account of Google Cloud is a mapping.
        if let Ok(Value::Object(map)) = serde_json::from_str::<Value>(value) {
            for (name, value) in &map {
                if let Value::String(text) = value {
                    self.add(text, is_secret || is_secret_name(name));
                }
            }
        }
    }

    /// Adds the secrets in a workflow file's connections, at any depth, and in the headers of its nodes.
    pub(crate) fn file(&mut self, root: &Yaml) {
        self.within(root, MAX_DEPTH);
    }

    pub(crate) fn done(&self) -> Secrets {
        Secrets::new(&self.outputs, &self.others)
    }

    fn within(&mut self, yaml: &Yaml, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match &yaml.value {
            YamlValue::Map(entries) => {
                for entry in entries {
                    match entry.key.as_str() {
                        "connection" => self.connection(&entry.value, depth),
                        "connections" => {
                            let connections = entry.value.keys().iter();
                            connections.for_each(|connection| self.connection(&connection.value, depth));
                        }
                        "headers" | "extra_headers" => self.headers(&entry.value),
                        _ => self.within(&entry.value, depth),
                    }
                }
            }
            YamlValue::List(items) => items.iter().for_each(|item| self.within(item, depth)),
            _ => {}
        }
    }

    fn connection(&mut self, yaml: &Yaml, depth: usize) {
        let (mut user, mut password) = (None, None);
        for entry in yaml.keys() {
            match entry.key.as_str() {
                "headers" => self.headers(&entry.value),
                "url" => entry.value.text().into_iter().for_each(|url| self.url(url)),
                name if PLAIN_FIELDS.contains(&name) => {}
                name => self.field(name, &entry.value, depth),
            }
            match entry.key.as_str() {
                "username" | "user" | "login" => user = entry.value.text(),
                "password" => password = entry.value.text(),
                _ => {}
            }
        }
        if let (Some(user), Some(password)) = (user, password) {
            self.add(&format!("{user}:{password}"), true);
        }
    }

    fn field(&mut self, name: &str, yaml: &Yaml, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match &yaml.value {
            YamlValue::Text(text) => {
                let within = |value: &&String| text.contains(value.as_str());
                let variables: Vec<String> = self.variables.iter().filter(within).cloned().collect();
                for value in &variables {
                    self.add(value, true);
                }
                self.add(text, !variables.is_empty() || is_secret_name(name) || looks_random(text));
            }
            YamlValue::Number(number) if is_secret_name(name) => self.add(&number.to_string(), true),
            YamlValue::List(items) => items.iter().for_each(|item| self.field(name, item, depth)),
            YamlValue::Map(entries) => {
                for entry in entries {
                    let name = if is_secret_name(name) { name } else { &entry.key };
                    self.field(name, &entry.value, depth);
                }
            }
            _ => {}
        }
    }

    fn headers(&mut self, yaml: &Yaml) {
        for entry in yaml.keys() {
            let name = entry.key.to_ascii_lowercase();
            let text = match &entry.value.value {
                YamlValue::Text(text) => text.clone(),
                YamlValue::Number(number) => number.to_string(),
                _ => continue,
            };
            if PLAIN_HEADERS.contains(&name.as_str()) {
                continue;
            }
            // `Bearer TOKEN`, and the parts of `a=1; b=2`.
            for part in text.split([' ', ';', ',']) {
                self.add(part, true);
                if let Some((_, value)) = part.split_once('=') {
                    self.add(value, true);
                }
            }
            self.add(&text, true);
        }
    }

    fn add(&mut self, value: &str, is_secret: bool) {
        let value = value.trim();
        if value.len() < SHORTEST {
            return;
        }
        if value.contains("://") && Url::parse(value).is_ok() {
            self.url(value);
            // A URL that is not a secret may be shown, except for the parts added here.
            if !is_secret {
                return;
            }
        }
        self.add_plain(value, is_secret);
    }

    /// Adds the secret parts of a URL. Scheme and host may be shown.
    fn url(&mut self, text: &str) {
        let Ok(url) = Url::parse(text) else { return };
        let written = text.split_once("://").map_or(text, |(_, rest)| rest);
        if let Some((user_info, _)) =
            written.split(['/', '?', '#']).next().and_then(|host| host.rsplit_once('@'))
        {
            self.add_plain(user_info, true);
            let decoded = percent_decoded(user_info);
            let (user, password) = decoded.split_once(':').unwrap_or(("", &decoded));
            self.add_plain(user, false);
            self.add_plain(password, true);
            self.add_plain(&decoded, true);
        }
        for (name, value) in url.query_pairs() {
            self.add_plain(&value, is_secret_name(&name) || looks_random(&value));
        }
        for part in url.path_segments().into_iter().flatten() {
            if looks_random(part) {
                self.add_plain(part, true);
            }
        }
        if url.path().len() > 1 || url.query().is_some() {
            self.add_plain(text, false);
        }
    }

    fn add_plain(&mut self, value: &str, is_secret: bool) {
        // Variables are added before the file, and are small.
        if value.len() >= SHORTEST && self.bytes + value.len() <= MAX_BYTES {
            self.bytes += value.len();
            let set = if is_secret && !is_word(value) { &mut self.outputs } else { &mut self.others };
            set.insert(value.to_owned());
        }
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Whether a text is probably a key: long, without spaces, with letters and digits.
fn looks_random(text: &str) -> bool {
    text.len() >= 16
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.bytes().filter(u8::is_ascii_digit).count() >= 3
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.contains("://")
}

/// Whether a text is a word, such as `ollama` as a placeholder key: outputs may contain it.
fn is_word(text: &str) -> bool {
    text.len() < WORD_BYTES && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn percent_decoded(text: &str) -> String {
    // In a form, `+` means a space; in user information it does not.
    let form = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    let decoded = Url::parse(&format!("http://x/?{form}")).ok();
    let value = decoded.and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned()));
    value.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Mistakes, read_yaml};

    fn secrets(file: &str, variables: &[(&str, &str)]) -> Secrets {
        let yaml = read_yaml(file, &mut Mistakes::default()).expect("YAML");
        let mut gather = Gather::default();
        for (name, value) in variables {
            gather.variable(name, value, false);
        }
        gather.file(&yaml);
        gather.done()
    }

    #[test]
    fn finds_secrets_in_connections_and_headers() {
        let secrets = secrets(
            "connections:\n  a: {type: dynamiq.connections.Http, method: DELETE, url: 'https://me:pass%20word@host.example/hooks?token=tok-123&page=second', \
             headers: {Authorization: Bearer abc-def-ghi, Cookie: 'sid=cookie-1; lang=english', Content-Type: application/json}, \
             params: {appid: 0123456789abcdef0, q: weather}, data: {user_secret: {inner: inner-most}}}\n\
             nodes:\n  n: {type: x, connection: {type: y, api_key: inline-key, username: somebody, password: pass-1234}, extra_headers: {X-A: node-header}, prompt: ordinary}\n",
            &[],
        );
        for secret in [
            "pass word",
            "pass%20word",
            "tok-123",
            "abc-def-ghi",
            "Bearer abc-def-ghi",
            "cookie-1",
            "0123456789abcdef0",
            "inner-most",
            "inline-key",
            "pass-1234",
            "node-header",
            "c29tZWJvZHk6cGFzcy0xMjM0",
        ] {
            assert!(secrets.occur_in(secret), "{secret}");
        }
        for plain in ["https://host.example", "application/json", "DELETE", "ordinary", "weather", "second"] {
            assert!(!secrets.occur_in(plain), "{plain}");
        }
        for plain in
            ["https://host.example", "application/json", "DELETE", "ordinary", "dynamiq.connections.Http"]
        {
            assert_eq!(secrets.hide(plain), plain);
        }
        assert_eq!(secrets.hide("weather by somebody, second"), "*** by ***, ***");
    }

    #[test]
    fn finds_secrets_in_variables() {
        let account = r#"{"type": "service_account", "private_key": "-----BEGIN KEY-----\nMIIBVQIBADANBgkqhkiG\n-----END KEY-----\n"}"#;
        let secrets = secrets(
            "connections: {a: {type: x, tenant: tenant-of-us}}",
            &[
                ("DB_PASSWORD", "hunter2"),
                ("MODEL", "gpt-4o-mini"),
                ("TENANT", "tenant-of-us"),
                ("SHORT", "abc"),
                ("API_KEY", "ollama"),
                ("BASE", "http://127.0.0.1:9099"),
                ("HOOK", "https://hooks.example/services/T000111222BBBCCC"),
                ("ACCOUNT", account),
            ],
        );
        for secret in ["hunter2", "tenant-of-us", "T000111222BBBCCC", "MIIBVQIBADANBgkqhkiG"] {
            assert!(secrets.occur_in(secret), "{secret}");
        }
        for plain in ["gpt-4o-mini", "ollama"] {
            assert!(!secrets.occur_in(plain), "{plain}");
        }
        assert_eq!(
            secrets.hide("gpt-4o-mini of abc at http://127.0.0.1:9099"),
            "*** of abc at http://127.0.0.1:9099"
        );
    }
}
