//! Chroma, against a real server.

use crate::{
    failure, found, ids, node, output,
    server::{free_port, had, installed, scratch, start},
    table,
};
use serde_json::{Value, json};
use std::{process::Command, sync::OnceLock};

const PACKAGE: &str = "chromadb==1.5.9";

fn port() -> Option<u16> {
    static STARTED: OnceLock<Result<u16, String>> = OnceLock::new();
    let launch = || {
        let (venv, port, data) = (installed(&[PACKAGE])?, free_port()?, scratch("chroma")?);
        let mut server = Command::new(venv.join("bin/chroma"));
        server.env("ANONYMIZED_TELEMETRY", "False");
        start(
            server.args(["run", "--host", "127.0.0.1", "--port", &port.to_string(), "--path"]).arg(data),
            port,
        )?;
        Ok(port)
    };
    had("Chroma", STARTED.get_or_init(launch)).copied()
}

fn settings(port: u16, collection: &str, more: &Value) -> Value {
    let mut settings = json!({
        "connection": {"type": "dynamiq.connections.Chroma", "host": "127.0.0.1", "port": port},
        "index_name": collection,
    });
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    settings
}

const WRITER: &str = "writers.ChromaDocumentWriter";
const RETRIEVER: &str = "retrievers.ChromaDocumentRetriever";

async fn write(port: u16, collection: &str, documents: &Value) -> Value {
    let settings = settings(port, collection, &json!({"create_if_not_exist": true}));
    output(node(WRITER, &settings, &json!({"documents": documents}))).await
}

#[tokio::test]
async fn finds_written_documents() {
    let Some(port) = port() else { return };
    let mut documents = table()["documents"].clone();
    for document in documents.as_array_mut().expect("documents") {
        // Only newer servers accept lists in the metadata.
        if let Some(metadata) = document["metadata"].as_object_mut() {
            metadata.remove("tags");
        }
    }
    assert_eq!(write(port, "table", &documents).await, json!({"upserted_count": 5}));
    let field = |field, operator, value: Value| json!({"field": field, "operator": operator, "value": value});
    let query = |filters: &Value| json!({"embedding": [0.9, 0.1, 0.0], "filters": filters});
    for (filters, expected) in [
        (json!({}), vec!["a", "b", "e", "c", "d"]),
        (json!({"lang": "en"}), vec!["a", "b"]),
        (json!({"lang": ["de", "fr"]}), vec!["c"]),
        (json!({"lang": "en", "year": 2020}), vec!["b"]),
        (json!({"content": "fox"}), vec!["a", "b"]),
        (field("metadata.year", ">=", json!(2021)), vec!["c", "d"]),
        (field("year", "in", json!([2019, 2022])), vec!["a", "d"]),
        (
            json!({"operator": "OR", "conditions": [
                field("lang", "==", json!("de")),
                {"operator": "AND", "conditions": [field("lang", "==", json!("en")), field("ok", "==", json!(true))]},
            ]}),
            vec!["a", "c"],
        ),
    ] {
        let given = output(node(RETRIEVER, &settings(port, "table", &json!({})), &query(&filters))).await;
        assert_eq!(ids(&given["documents"]), expected, "{filters}");
    }
    // Its scores are squared distances.
    let near = json!({"similarity_threshold": 0.3, "top_k": 3});
    let near = output(node(RETRIEVER, &settings(port, "table", &near), &query(&json!({})))).await;
    let scores = found(&near["documents"]);
    assert_eq!(scores.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!((scores[0].1 - 0.02).abs() < 1e-6, "{scores:?}");
    let (first, written) = (&near["documents"][0], &documents[0]);
    assert_eq!((&first["content"], &first["metadata"]), (&written["content"], &written["metadata"]));
}

#[tokio::test]
async fn a_second_write_replaces() {
    let Some(port) = port() else { return };
    let document = |content: &str| json!([{"id": "a", "content": content, "embedding": [1.0, 0.0]}]);
    write(port, "again", &document("one")).await;
    write(port, "again", &document("two")).await;
    let query = json!({"embedding": [1.0, 0.0]});
    let given = output(node(RETRIEVER, &settings(port, "again", &json!({})), &query)).await;
    assert_eq!(given["documents"].as_array().map(Vec::len), Some(1));
    assert_eq!(given["documents"][0]["content"], "two");
}

#[tokio::test]
async fn reports_errors() {
    let Some(port) = port() else { return };
    let query = json!({"embedding": [1.0, 0.0]});
    let missing = settings(port, "missing", &json!({}));
    let expected = ("VectorStoreException".to_owned(), "Chroma has no collection `missing`".to_owned());
    assert_eq!(failure(node(RETRIEVER, &missing, &query)).await, expected);
    let bare = json!({"documents": [{"id": "a", "content": "x"}]});
    let settings = settings(port, "bare", &json!({"create_if_not_exist": true}));
    let (kind, message) = failure(node(WRITER, &settings, &bare)).await;
    assert_eq!((kind.as_str(), message.as_str()), ("ValueError", "the document `a` has no embedding"));
}
