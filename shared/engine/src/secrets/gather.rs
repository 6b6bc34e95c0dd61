//! Gathers the secrets of an app while its workflow file is loaded.

use super::{SHORTEST, Secrets};
use crate::load::{Yaml, YamlValue};
use reqwest::Url;
use serde_json::Value;
use std::collections::BTreeSet;

/// What the name of a secret contains.
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
/// Headers whose values everybody knows.
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
/// Fields of connections that say where a service is or how it is spoken to, and may stand in errors.
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
/// Bytes of all that is taken from a workflow file: what is looked for costs memory.
const MOST_BYTES: usize = 128 << 10;
/// Longer texts are no words.
const LONGEST_WORD: usize = 12;
/// How deep values are looked at.
const DEPTH: usize = 64;

/// The secrets that were found so far.
#[derive(Default)]
pub(crate) struct Gather {
    outputs: BTreeSet<String>,
    others: BTreeSet<String>,
    /// The values of variables.
    variables: Vec<String>,
    /// Bytes that were taken from the file.
    bytes: usize,
}

impl Gather {
    /// The value of an environment variable. `is_secret` says that its app keeps it as a secret.
    pub(crate) fn variable(&mut self, name: &str, value: &str, is_secret: bool) {
        if value.trim().len() < SHORTEST {
            return;
        }
        self.variables.push(value.trim().to_owned());
        self.add(value, is_secret || is_secret_name(name));
        self.bytes = 0;
        // An account of Google Cloud, for one, is a mapping.
        if let Ok(Value::Object(map)) = serde_json::from_str::<Value>(value) {
            for (name, value) in &map {
                if let Value::String(text) = value {
                    self.add(text, is_secret || is_secret_name(name));
                }
            }
        }
    }

    /// The connections of a workflow file, wherever they stand in it, and the headers of its nodes.
    pub(crate) fn file(&mut self, root: &Yaml) {
        self.within(root, DEPTH);
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
            // Where a service is may be shown; what else the value holds may not.
            if !is_secret {
                return;
            }
        }
        self.add_plain(value, is_secret);
    }

    /// Of a URL, scheme and host may be shown.
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
        // The environment comes first, and is small.
        if value.len() >= SHORTEST && self.bytes + value.len() <= MOST_BYTES {
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

/// Whether a text is probably no word but a key: long, without a space, with letters and digits.
fn looks_random(text: &str) -> bool {
    text.len() >= 16
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.bytes().filter(u8::is_ascii_digit).count() >= 3
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.contains("://")
}

/// Whether a text is a word, as `ollama` where a server wants some key: outputs may be about that.
fn is_word(text: &str) -> bool {
    text.len() < LONGEST_WORD && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn percent_decoded(text: &str) -> String {
    // A form has `+` for a space, which user information has not.
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
    fn of_connections_and_headers() {
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
    fn of_variables() {
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
