//! `UnstructuredFileConverter`: divides files into elements with the Unstructured API, and makes documents of them.

use super::{Content, ConvertedDocuments, InputFile, Registered, Sources, named, sources};
use crate::{
    document::{Document, DocumentIds},
    flow::{Call, Halt, Kind, NodeError},
    http_client::{self, Answer},
    load::{Fields, Loading},
    nodes::connection::{Setting, connection},
};
use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE;
use runyard_runs::EventBody;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use uuid::Uuid;

/// The conversion of scans takes minutes.
const TIMEOUT: Duration = Duration::from_mins(5);

pub(super) const UNSTRUCTURED_CONVERTER: Registered = Registered {
    class: "converters.UnstructuredFileConverter",
    name: Some("unstructured-file-converter"),
    timeout: Some(TIMEOUT),
    build: |_, fields, loading| Some(Box::new(UnstructuredConverter::read(fields, loading)?)),
};

const URL: Setting =
    Setting { key: "url", variable: "UNSTRUCTURED_API_URL", default: Some("https://api.unstructured.io/") };

const API_KEY: Setting = Setting { key: "api_key", variable: "UNSTRUCTURED_API_KEY", default: None };

const ROUTE: &str = "/general/v0/general";

/// The separator between the texts of elements.
const SEPARATOR: &str = "\n\n";

/// The part of a file that becomes a document.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Element,
    File,
    Page,
}

struct UnstructuredConverter {
    url: String,
    api_key: String,
    mode: Mode,
    /// Parameters that are sent with the file.
    parameters: Vec<(String, String)>,
}

/// Omits the key.
impl fmt::Debug for UnstructuredConverter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnstructuredConverter").field("url", &self.url).finish_non_exhaustive()
    }
}

impl UnstructuredConverter {
    fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let modes = [
            ("one-doc-per-element", Mode::Element),
            ("one-doc-per-file", Mode::File),
            ("one-doc-per-page", Mode::Page),
        ];
        let strategies = ["auto", "fast", "hi_res", "ocr_only", "vlm"].map(|strategy| (strategy, strategy));
        let mode = fields.choice("document_creation_mode", &modes).unwrap_or(Mode::File);
        let strategy = fields.choice("strategy", &strategies).unwrap_or("auto");
        let mut parameters = vec![("strategy".to_owned(), strategy.to_owned())];
        match fields.json("unstructured_kwargs") {
            Some(Value::Object(more)) => {
                more.iter().for_each(|(key, value)| add_parameter(key, value, &mut parameters));
            }
            Some(_) => {
                let spot = fields.spot("unstructured_kwargs");
                fields.mistake(spot, "`unstructured_kwargs` must be a mapping".into());
            }
            None => {}
        }
        if fields.bool("extract_image_block_types_enabled") == Some(true) {
            let problem =
                "images in documents are not supported: set `extract_image_block_types_enabled: false`";
            fields.mistake(fields.spot("extract_image_block_types_enabled"), problem.into());
        }
        fields.get("extract_image_block_types");
        let connection = connection(&["Unstructured"], fields, loading)?;
        let url = URL.of(connection.as_ref(), fields, loading);
        let api_key = API_KEY.of(connection.as_ref(), fields, loading)?;
        let base = url?;
        let base = base.split_once(ROUTE).map_or(base.as_str(), |(base, _)| base).trim_end_matches('/');
        Some(Self { url: format!("{base}{ROUTE}"), api_key, mode, parameters })
    }

    /// Returns the elements of a file. The call is recorded, because it must be paid for: a resumed run does not repeat
    /// it.
    async fn elements(&self, call: Call<'_>, index: usize, file: &InputFile) -> Result<Vec<Value>, Halt> {
        let key = format!("{}/file/{index}", call.key);
        let recorded = if let Some(recorded) = call.run.recorded(&key) {
            recorded.journal
        } else {
            call.run.outside().await?;
            let elements = self.ask(call, file).await?;
            call.run.record(&key, EventBody::RunCheckpoint, Some(elements.clone()));
            elements
        };
        match recorded {
            Value::Array(elements) => Ok(elements),
            _ => Err(NodeError::new(
                "SDKError",
                "the answer of the Unstructured API is not a list of elements",
            )
            .into()),
        }
    }

    async fn ask(&self, call: Call<'_>, file: &InputFile) -> Result<Value, NodeError> {
        let boundary = Uuid::new_v5(&call.run.new_run().id.0, file.name.as_bytes()).simple().to_string();
        let body = form(&boundary, file, &self.parameters);
        let request = |client: &reqwest::Client, url| {
            let kind = format!("multipart/form-data; boundary={boundary}");
            let request = client.post(url).header("unstructured-api-key", &self.api_key);
            request.header("accept", "application/json").header(CONTENT_TYPE, kind).body(body)
        };
        let failed = |problem: String| {
            NodeError::new(
                "SDKError",
                format!("the Unstructured API did not convert `{}`: {problem}", file.name),
            )
        };
        let answer = http_client::call(&call.services.http, &self.url, TIMEOUT, request).await;
        let answer: Answer = answer.map_err(|failure| failed(failure.to_string()))?;
        if !answer.status.is_success() {
            return Err(failed(format!("{}: {}", answer.status, answer.error_text())));
        }
        Ok(answer.json())
    }

    fn documents(&self, file: InputFile, elements: &[Value], ids: &DocumentIds) -> Vec<Document> {
        let mut metadata = file.metadata;
        metadata.insert("file_path".into(), file.name.into());
        match self.mode {
            Mode::File => {
                let text = |element: &Value| match element["category"].as_str() {
                    Some("Title") => format!("# {}", text(element)),
                    _ => text(element),
                };
                let texts: Vec<String> = elements.iter().map(text).collect();
                vec![Document::new(ids.next(), texts.join(SEPARATOR), metadata)]
            }
            Mode::Page => pages(elements, &metadata)
                .into_values()
                .map(|(text, metadata)| Document::new(ids.next(), text, metadata))
                .collect(),
            Mode::Element => {
                let element = |(index, element): (usize, &Value)| {
                    let mut metadata = metadata.clone();
                    metadata.insert("element_index".into(), index.into());
                    metadata.extend(element["metadata"].as_object().cloned().unwrap_or_default());
                    if let Some(category) = element["category"].as_str().filter(|it| !it.is_empty()) {
                        metadata.insert("category".into(), category.into());
                    }
                    Document::new(ids.next(), text(element), metadata)
                };
                elements.iter().enumerate().map(element).collect()
            }
        }
    }
}

/// The text of each page, and the merged metadata of its elements; later elements override earlier ones.
fn pages(elements: &[Value], metadata: &Map<String, Value>) -> BTreeMap<u64, (String, Map<String, Value>)> {
    let mut pages: BTreeMap<u64, (String, Map<String, Value>)> = BTreeMap::new();
    for element in elements {
        let element_metadata = element["metadata"].as_object();
        let number = element_metadata
            .and_then(|element_metadata| element_metadata.get("page_number"))
            .or_else(|| metadata.get("page_number"));
        let number = number.and_then(Value::as_u64).unwrap_or(1);
        let (page, page_metadata) = pages.entry(number).or_default();
        page.push_str(&text(element));
        page.push_str(SEPARATOR);
        page_metadata.extend(metadata.clone());
        page_metadata.extend(element_metadata.cloned().unwrap_or_default());
    }
    pages
}

fn text(element: &Value) -> String {
    element["text"].as_str().unwrap_or_default().to_owned()
}

/// Adds a form parameter; for a list, one for each item.
fn add_parameter(key: &str, value: &Value, parameters: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for item in items {
                add_parameter(&format!("{key}[]"), item, parameters);
            }
        }
        Value::String(text) => parameters.push((key.to_owned(), text.clone())),
        other => parameters.push((key.to_owned(), other.to_string())),
    }
}

/// The body of a multipart form with one file.
fn form(boundary: &str, file: &InputFile, parameters: &[(String, String)]) -> Vec<u8> {
    let quoted = |text: &str| text.replace('"', "%22").replace(['\r', '\n'], " ");
    let mut body = Vec::with_capacity(file.bytes.len() + 1024);
    for (key, value) in parameters {
        let key = quoted(key);
        let part =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{key}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let name = quoted(&file.name);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(&file.bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    body
}

#[async_trait]
impl Kind for UnstructuredConverter {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let ids = DocumentIds::new(call);
        let mut made = ConvertedDocuments::default();
        for (index, source) in Sources::of(call, input)?.enumerate() {
            let source = source?;
            let Content { name, bytes } = source.content(call).await?;
            let file = InputFile { name: named(name, &bytes, &ids)?, bytes, metadata: source.metadata() };
            let elements = self.elements(call, index, &file).await?;
            made.add(Document::list(self.documents(file, &elements, &ids)))?;
        }
        made.output()
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        sources::admit(&input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn writes_forms_with_parameters_and_the_file() {
        let file = InputFile { name: "a\"b.txt".into(), bytes: b"\0x".to_vec(), metadata: Map::new() };
        let mut parameters = Vec::new();
        add_parameter("languages", &json!(["eng", "deu"]), &mut parameters);
        add_parameter("coordinates", &json!(true), &mut parameters);
        let body = String::from_utf8(form("B", &file, &parameters)).expect("text");
        let parts: Vec<&str> = body.split("--B").collect();
        assert_eq!(parts.len(), 6);
        assert!(parts[1].ends_with("name=\"languages[]\"\r\n\r\neng\r\n"), "{}", parts[1]);
        assert!(parts[3].ends_with("name=\"coordinates\"\r\n\r\ntrue\r\n"), "{}", parts[3]);
        assert!(parts[4].contains("filename=\"a%22b.txt\"") && parts[4].ends_with("\r\n\r\n\0x\r\n"));
    }
}
