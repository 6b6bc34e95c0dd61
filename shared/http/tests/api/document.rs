//! The committed document equals the generated one, and describes what the router does.

use crate::world::{Answer, World};
use axum::body::Body;
use http::Method;
use serde_json::{Value, json};
use std::{fs, path::Path, sync::LazyLock};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&runyard_http::openapi()).expect("the document is JSON"));

/// Panics unless the document describes the response: its status on this route, and the schema of its body.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    let Some(operation) = operation(method, path) else {
        assert!(
            answer.status == 404 || answer.status == 405 || answer.status == 204,
            "{method} {path}: {answer:?}"
        );
        return;
    };
    // 5xx responses are documented for every route, and tested for a few.
    let mut response = &operation["responses"][answer.status.as_str()];
    assert!(!response.is_null(), "not documented: {method} {path}: {answer:?}");
    if let Some(reference) = response["$ref"].as_str() {
        response = DOCUMENT.pointer(reference.trim_start_matches('#')).expect("the response exists");
    }
    if method == Method::HEAD || answer.status == 204 {
        return;
    }
    let content_type = answer.header("content-type");
    let schema = &response["content"][content_type]["schema"];
    assert!(!schema.is_null(), "{content_type} is not documented: {method} {path}: {answer:?}");
    if content_type == "text/event-stream" {
        for data in
            String::from_utf8_lossy(&answer.body).lines().filter_map(|line| line.strip_prefix("data: "))
        {
            fits(schema, &serde_json::from_str(data).expect("an event is JSON"));
        }
    } else {
        fits(schema, &answer.json());
    }
}

/// Panics unless the value matches the schema.
pub(crate) fn fits(schema: &Value, value: &Value) {
    let whole =
        json!({ "$ref": "#/x/schema", "x": { "schema": schema }, "components": DOCUMENT["components"] });
    let validator = jsonschema::validator_for(&whole).expect("the schema is valid");
    if let Err(error) = validator.validate(value) {
        panic!("{value}\ndoes not match its schema at {}: {error}", error.instance_path());
    }
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths.iter().find_map(|(template, item)| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        let same = template.len() == path.len()
            && template.iter().zip(&path).all(|(a, b)| a == b || (a.starts_with('{') && !b.is_empty()));
        same.then(|| item.get(&method)).flatten()
    })
}

#[test]
fn the_committed_document_is_current() {
    let generated = runyard_http::openapi();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if generated != committed {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
        fs::write(&copy, &generated).unwrap();
        panic!(
            "openapi.json is out of date: run `cargo run -p runyard -- openapi > openapi.json`, then \
             `npm --prefix clients/typescript run generate` (the new document is in {})",
            copy.display()
        );
    }
}

#[test]
fn every_reference_resolves() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&DOCUMENT, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(DOCUMENT.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_documented_route_exists() {
    let world = World::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let path = path.replace("{run_id}", "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77");
        for method in item.as_object().unwrap().keys() {
            let request = world.request(&method.to_uppercase(), &path).body(Body::empty()).unwrap();
            let answer = world.send(request).await;
            assert!(answer.status != 405, "{method} {path}: {answer:?}");
            assert!(answer.status != 404 || answer.details() == ["run_id"], "{method} {path}: {answer:?}");
        }
    }
}
