//! `HttpApiCall`: one request to an HTTP API. Connection, node and input may each set parts of it; a later one
//! overrides the earlier ones.
//!
//! Headers, parameters and data of the connection and the node may be secret, and the URL may come from a caller or a
//! model. So they are only sent to their own origin (scheme, host and port). A request to another origin only has what
//! the input sets.

use super::{Registered, multipart};
use crate::{
    flow::{Call, Halt, Kind, NodeError, ToolSpec, seconds},
    http_client::{self, Answer},
    load::{Fields, Loading},
    nodes::{
        admit::{Check, InputCheck, TEXT, invalid},
        connection::needed,
        files::{FILES_BY_NAME, Files, MOST_BYTES},
    },
    python_json, python_text,
};
use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use runyard_runs::{JsonError, MAX_OUTPUT_VALUES, parse_json};
use serde_json::{Map, Value, json};
use std::{fmt, fmt::Write as _, sync::Arc, time::Duration};

pub(super) const HTTP_API_CALL: Registered = Registered {
    class: "tools.HttpApiCall",
    name: Some("api-call"),
    timeout: None,
    build: |_, fields, loading| Some(Box::new(HttpApiCall::read(fields, loading)?)),
};

const METHODS: &[(&str, Method)] = &[
    ("GET", Method::GET),
    ("POST", Method::POST),
    ("PUT", Method::PUT),
    ("DELETE", Method::DELETE),
    ("PATCH", Method::PATCH),
];
const PAYLOADS: &[(&str, Payload)] = &[("raw", Payload::Form), ("json", Payload::Json)];
const CONTENTS: &[(&str, Content)] =
    &[("text", Content::Text), ("raw", Content::Raw), ("json", Content::Json)];
/// Lets a server detect a repeated request: a request in flight when a worker died is sent again with the same key.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Debug)]
struct HttpApiCall {
    url: String,
    method: Method,
    of_connection: Part,
    own: Part,
    payload: Payload,
    /// From the file. If unset, a response of type `application/json` is JSON, and any other is raw.
    content: Option<Content>,
    success_codes: Vec<u16>,
    /// How long the server may send nothing.
    timeout: Duration,
}

/// Headers, parameters and data of the connection or the node, for requests to its own origin.
struct Part {
    /// Unset if the connection or node has no URL: then none of this is sent.
    origin: Option<Origin>,
    headers: Map<String, Value>,
    params: Map<String, Value>,
    data: Map<String, Value>,
}

/// Leaves out headers, parameters and data, which may be secret.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Scheme, host and port.
type Origin = (String, String, u16);

impl Part {
    /// The entries of `key` for a request to `origin`; empty if that is another origin.
    fn to(&self, origin: Option<&Origin>, key: &str) -> Map<String, Value> {
        if origin.is_none() || origin != self.origin.as_ref() {
            return Map::new();
        }
        match key {
            "headers" => self.headers.clone(),
            "params" => self.params.clone(),
            _ => self.data.clone(),
        }
    }
}

fn origin(url: &str) -> Option<Origin> {
    let url = Url::parse(url).ok()?;
    Some((url.scheme().to_owned(), url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// Format of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    Form,
    Json,
}

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Text,
    /// Text if it is UTF-8, else Base64.
    Raw,
    Json,
}

/// A complete request.
struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl HttpApiCall {
    fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let part = |key: &str| mapping(fields.json(key), key, fields);
        let (headers, params, data) = (part("headers")?, part("params")?, part("data")?);
        let method = fields.get("method").map(|_| word(fields, "method", METHODS));
        let content = fields.get("response_type").map(|_| word(fields, "response_type", CONTENTS));
        let success_codes = success_codes(fields);
        let timeout = fields.float("timeout").map_or(Duration::from_secs(30), seconds);
        let payload = fields.choice("payload_type", PAYLOADS).unwrap_or(Payload::Form);
        let connection = needed(&["Http"], fields, loading)?;
        let of_connection = |key: &str| mapping(connection.fields.get(key).cloned(), key, fields);
        let known = |name: &str| METHODS.iter().find(|(word, _)| *word == name);
        let Some((_, own_method)) = connection.text("method").and_then(known) else {
            let message = "the connection needs a `method`: GET, POST, PUT, DELETE or PATCH";
            fields.mistake(fields.spot("connection"), message.into());
            return None;
        };
        let non_empty = |url: Option<&str>| url.filter(|url| !url.is_empty()).map(str::to_owned);
        let connection_url = non_empty(connection.url.as_deref());
        let url = non_empty(fields.text("url")).or_else(|| connection_url.clone()).unwrap_or_default();
        Some(Self {
            of_connection: Part {
                origin: origin(connection_url.as_deref().unwrap_or(&url)),
                headers: of_connection("headers")?,
                params: of_connection("params")?,
                data: of_connection("data")?,
            },
            own: Part { origin: origin(&url), headers, params, data },
            url,
            method: method.map_or(Some(own_method.clone()), |method| method)?,
            payload,
            content: content.map_or(Some(None), |content| content.map(Some))?,
            success_codes: success_codes?,
            timeout,
        })
    }

    /// Builds the request for an input and its files.
    fn request(&self, input: &Map<String, Value>, files: &[(String, Vec<u8>)]) -> Result<Request, NodeError> {
        let text = |key: &str| input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let url = text("url").unwrap_or(&self.url);
        if url.is_empty() {
            return Err(NodeError::new("ValueError", "`url` cannot be blank"));
        }
        let origin = origin(url);
        let merged = |key: &str| {
            let parts = [&self.of_connection, &self.own].map(|part| part.to(origin.as_ref(), key));
            let [of_connection, own] = parts;
            let base = merge(of_connection, own);
            match input.get(key) {
                Some(Value::Object(given)) => merge(base, given.clone()),
                _ => base,
            }
        };
        let known = |name: &str| METHODS.iter().find(|(word, _)| *word == name).map(|(_, method)| method);
        let method = text("method").and_then(known).unwrap_or(&self.method).clone();
        let is_json = match text("payload_type") {
            Some(payload) => payload == "json",
            None => self.payload == Payload::Json,
        };
        let data = merged("data");
        let (content_type, body) = match (is_json, files) {
            // A form with files cannot contain JSON, so the data is dropped, as in the reference.
            (true, [_, ..]) => multipart::form(&[], files),
            (false, [_, ..]) => multipart::form(&entries(&data), files),
            (true, []) => {
                ("application/json".to_owned(), python_json::ascii(&Value::Object(data)).into_bytes())
            }
            (false, []) => ("application/x-www-form-urlencoded".to_owned(), form(&data).into_bytes()),
        };
        let body = Some(body).filter(|body| !body.is_empty());
        // Many servers select the site by this header and ignore the host of the URL.
        let is_host = |name: &String| name.eq_ignore_ascii_case("host");
        if input.get("headers").and_then(Value::as_object).is_some_and(|given| given.keys().any(is_host)) {
            return Err(failed("the header `Host` follows from the URL and cannot be set by an input"));
        }
        let mut headers = headers(&merged("headers"))?;
        if body.is_some()
            && let Ok(content_type) = HeaderValue::try_from(content_type)
        {
            headers.entry(CONTENT_TYPE).or_insert(content_type);
        }
        let url = with_params(url, &form(&merged("params")));
        Ok(Request { method, url, headers, body })
    }

    fn output(&self, answer: &Answer) -> Result<Value, NodeError> {
        let status = answer.status.as_u16();
        if !self.success_codes.contains(&status) {
            let text = answer.error_text();
            return Err(failed(&format!("the server responded with status {status}: {text}")));
        }
        let is_json = answer.header("content-type") == Some("application/json");
        let content: Value = match self.content.unwrap_or(if is_json { Content::Json } else { Content::Raw })
        {
            Content::Text => answer.text().into(),
            Content::Raw => match std::str::from_utf8(&answer.body) {
                Ok(text) => text.into(),
                Err(_) => BASE64_STANDARD.encode(&answer.body).into(),
            },
            Content::Json => parse_json(&answer.body, MAX_OUTPUT_VALUES).map_err(|error| match error {
                JsonError::TooManyValues { .. } => NodeError::limit_exceeded(format!("the answer {error}")),
                JsonError::Invalid(error) => {
                    NodeError::new("JSONDecodeError", format!("the response is not valid JSON: {error}"))
                }
            })?,
        };
        Ok(json!({"content": content, "status_code": status}))
    }
}

/// A field that is a mapping; empty if it is absent. If it is anything else, reports an error and returns `None`.
fn mapping(value: Option<Value>, key: &str, fields: Fields<'_>) -> Option<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(map)) => Some(map),
        Some(_) => {
            fields.mistake(fields.spot(key), format!("`{key}` must be a mapping"));
            None
        }
    }
}

/// The value of the field, which must be one of `words`.
fn word<T: Clone>(fields: Fields<'_>, key: &str, words: &'static [(&'static str, T)]) -> Option<T> {
    let indices: Vec<(&str, usize)> =
        words.iter().enumerate().map(|(index, (word, _))| (*word, index)).collect();
    fields.choice(key, &indices).map(|index| words[index].1.clone())
}

fn success_codes(fields: Fields<'_>) -> Option<Vec<u16>> {
    let Some(items) = fields.get("success_codes") else { return Some(vec![200]) };
    let codes = items.to_json().as_array().and_then(|codes| {
        codes.iter().map(|code| u16::try_from(code.as_u64()?).ok()).collect::<Option<Vec<_>>>()
    });
    if codes.is_none() {
        fields.mistake(items.spot, "`success_codes` must be a list of status codes".into());
    }
    codes
}

/// The entries of `base`, then those of `over`. A key in both keeps its position and gets the value of `over`.
fn merge(mut base: Map<String, Value>, over: Map<String, Value>) -> Map<String, Value> {
    base.extend(over);
    base
}

fn headers(given: &Map<String, Value>) -> Result<HeaderMap, NodeError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            _ => {
                let given = python_text::type_name(value);
                return Err(failed(&format!("the header `{name}` must be text, but is of type {given}")));
            }
        };
        let header = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(text).ok());
        let Some((name, value)) = header else {
            return Err(failed(&format!("the name or value of the header `{name}` is not valid")));
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The entries of a form, as the reference's client writes them: one per item of a list or key of a mapping; none for
/// null.
fn entries(data: &Map<String, Value>) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for (key, value) in data {
        let mut push = |text: String| entries.push((key.clone(), text));
        match value {
            Value::Array(items) => {
                items.iter().filter(|item| !item.is_null()).for_each(|item| push(python_text::str(item)));
            }
            Value::Object(map) => map.keys().cloned().for_each(push),
            Value::Null => {}
            single => push(python_text::str(single)),
        }
    }
    entries
}

/// Encodes data as `a=1&b=2`, for queries and forms.
fn form(data: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in entries(data) {
        if !text.is_empty() {
            text.push('&');
        }
        quote(&mut text, &key);
        text.push('=');
        quote(&mut text, &value);
    }
    text
}

/// Name and content of the files of an input.
async fn files(call: Call<'_>, given: Option<&Value>) -> Result<Vec<(String, Vec<u8>)>, NodeError> {
    let (mut read, mut bytes) = (Vec::new(), 0);
    for (name, file) in given.and_then(Value::as_object).into_iter().flatten() {
        let content = Files::of(call).read(file).await?;
        bytes += content.bytes.len();
        if bytes > MOST_BYTES {
            let message = format!("the files are larger than the {} MiB that a node reads", MOST_BYTES >> 20);
            return Err(NodeError::new("ValueError", message).lasting());
        }
        read.push((name.clone(), content.bytes));
    }
    Ok(read)
}

/// Encodes text like Python's `quote_plus`.
fn quote(text: &mut String, plain: &str) {
    for byte in plain.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                text.push(char::from(byte));
            }
            b' ' => text.push('+'),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

/// Appends parameters to those of the URL.
fn with_params(url: &str, params: &str) -> String {
    if params.is_empty() {
        return url.to_owned();
    }
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{url}{joint}{params}{fragment}")
}

/// An error that an agent can recover from.
fn failed(reason: &str) -> NodeError {
    let message = format!("Request failed: {reason}");
    NodeError { recoverable: true, ..NodeError::new("ToolExecutionException", message) }
}

#[async_trait]
impl Kind for HttpApiCall {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let files = files(call, input.get("files")).await?;
        let mut request = self.request(input.as_object().unwrap_or(&empty), &files)?;
        if request.method == Method::GET {
            call.run.outside().await?;
        } else if let Ok(key) = HeaderValue::from_str(&call.announce().await?) {
            request.headers.entry(IDEMPOTENCY_KEY).or_insert(key);
        }
        let Request { method, url, headers, body } = request;
        let answer = http_client::call(&call.services.http, &url, self.timeout, |client, url| {
            let request = client.request(method, url).headers(headers);
            match body {
                Some(body) => request.body(body),
                None => request,
            }
        });
        let answer = answer.await.map_err(|failure| failed(&failure.to_string()))?;
        Ok(Arc::new(self.output(&answer)?))
    }

    fn offer(&self) -> ToolSpec {
        let mapping = |what: &str| json!({"type": "object", "description": what});
        ToolSpec {
            description: "Calls an HTTP API and gives its status and answer. What is left out is taken from the \
                          tool's settings; what is given goes over them.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "url": {"type": "string", "description": "the URL to call, if it is another than the tool's own; another server gets none of the tool's headers, parameters and data"},
                    "method": {"type": "string", "enum": ["GET", "POST", "PUT", "DELETE", "PATCH"]},
                    "params": mapping("parameters of the URL's query"),
                    "data": mapping("the body's entries"),
                    "payload_type": {"type": "string", "enum": ["raw", "json"], "description": "`raw` sends the data as a form, `json` as JSON"},
                    "headers": mapping("HTTP headers"),
                    "files": {
                        "type": "object", "additionalProperties": {"type": "string"},
                        "description": "files to upload: the paths of yours, by the names of the form's fields",
                    },
                },
            }),
            parallel: false,
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "an HttpApiCall")?;
        for key in ["data", "headers", "params"] {
            let given = parsed(&input, key)?;
            admission.set(key, given);
        }
        admission.or("url", "", TEXT)?;
        match input.get("payload_type") {
            None => admission.set("payload_type", Value::Null),
            Some(_) => admission.required("payload_type", PAYLOAD)?,
        }
        admission.optional("method", METHOD)?;
        admission.or("files", json!({}), FILES_BY_NAME)?;
        Ok(admission.done())
    }
}

const PAYLOAD: Check =
    Check::new("`raw` or `json`", |value| matches!(value.as_str()?, "raw" | "json").then(|| value.clone()));
const METHOD: Check = Check::new("GET, POST, PUT, DELETE or PATCH", |value| {
    let known = METHODS.iter().any(|(word, _)| value == word);
    known.then(|| value.clone())
});
/// A field of the input that is a mapping, or a JSON text of one, as models write it.
fn parsed(input: &Value, key: &str) -> Result<Value, NodeError> {
    let unparsable = |why: String| NodeError {
        recoverable: true,
        ..NodeError::new("ActionParsingException", format!("`{key}` of the input {why}"))
    };
    match input.get(key) {
        None => Ok(json!({})),
        Some(value @ Value::Object(_)) => Ok(value.clone()),
        Some(Value::String(text)) if text.is_empty() => Ok(json!({})),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err(invalid(format!("`{key}` of the input must be a mapping"))),
            Err(error) => Err(unparsable(format!("is not valid JSON: {error}"))),
        },
        Some(_) => Err(unparsable("must be a mapping or the JSON text of one".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_params_to_urls() {
        for (url, whole) in [
            ("http://x/a", "http://x/a?b=1"),
            ("http://x/a?", "http://x/a?b=1"),
            ("http://x/a?c=2", "http://x/a?c=2&b=1"),
            ("http://x/a#f", "http://x/a?b=1#f"),
        ] {
            assert_eq!(with_params(url, "b=1"), whole);
            assert_eq!(with_params(url, ""), url);
        }
    }
}
