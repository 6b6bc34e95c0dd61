//! The in-memory store, and nodes that contain an embedder and a store.

use crate::{
    differences, flow, node, ran,
    support::{Case, scripted::Scripted},
    table,
};
use serde_json::{Map, Value, json};

const WRITER: &str = "writers.InMemoryDocumentWriter";
const RETRIEVER: &str = "retrievers.InMemoryDocumentRetriever";

/// By vector and filter, the store finds what pgvector finds. It weighs words differently.
#[tokio::test]
async fn finds_the_documents_that_the_reference_finds() {
    let table = table();
    let cases: Vec<Value> = table["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .filter(|case| {
            let is_cosine = case["node"]["vector_function"].as_str().unwrap_or("cosine_similarity")
                == "cosine_similarity";
            let by_vector = case["input"]["query"].is_null() || case["input"]["alpha"] == 1;
            // The store has no fixed dimension to compare the query with.
            is_cosine && by_vector && case["raises"] != "ValueError"
        })
        .cloned()
        .collect();
    assert!(cases.len() > 35, "{}", cases.len());
    let written = node(WRITER, &json!({}), &json!({"documents": table["documents"]}));
    let retriever = |case: &Value| node(RETRIEVER, &case["node"], &case["input"]);
    // In one workflow, because the store lives in the engine's memory.
    let different = differences(&cases, Some(written), retriever).await;
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[tokio::test]
async fn a_writer_and_a_retriever_contain_embedder_and_store() {
    let model = Scripted::start(json!([])).await;
    let connection = json!({"type": "dynamiq.connections.OpenAI", "api_key": "k", "url": model.url});
    let part = |class: &str| json!({"type": format!("dynamiq.nodes.{class}"), "connection": connection});
    let store = |class: &str| json!({"type": format!("dynamiq.nodes.{class}"), "index_name": "kb"});
    let documents = json!([
        {"id": "a", "content": " Cats sleep. ", "metadata": {"source_url": "https://x/cats", "file_id": "f1", "note": ""}},
        {"id": "b", "content": "Dogs bark."},
    ]);
    let mut nodes = Map::new();
    let parts = json!({"document_embedder": part("embedders.OpenAIDocumentEmbedder"), "document_writer": store(WRITER)});
    nodes.insert("write".into(), node("writers.VectorStoreWriter", &parts, &json!({"documents": documents})));
    let parts = json!({
        "text_embedder": part("embedders.OpenAITextEmbedder"), "document_retriever": store(RETRIEVER), "top_k": 1,
    });
    // The scripted vectors are derived from the text, so this finds the same text.
    let mut read =
        node("retrievers.VectorStoreRetriever", &parts, &json!({"query": "Dogs bark.", "alpha": 1.0}));
    read["depends"] = json!([{"node": "write"}]);
    nodes.insert("read".into(), read);
    let mut filtered = node(
        "retrievers.VectorStoreRetriever",
        &parts,
        &json!({"query": "cats", "alpha": 0.0, "filters": {"file_id": "f1"}}),
    );
    filtered["depends"] = json!([{"node": "write"}]);
    nodes.insert("filtered".into(), filtered);
    let results = Case::text(&flow(&nodes)).run().await;
    let results = &results["output"];
    assert_eq!(results["write"]["output"], json!({"upserted_count": 2}), "{}", results["write"]["error"]);
    assert_eq!(results["write"]["input"]["documents"][1]["metadata"], json!({}));
    let read = &results["read"]["output"];
    assert_eq!(read["documents"][0]["id"], "b", "{}", results["read"]["error"]);
    assert_eq!(
        read["content"],
        "--- Retrieved Source 1 ---\nMetadata:\nScore: 1.0\n\nContent:\nDogs bark.\n--- End Source 1 ---"
    );
    let content = results["filtered"]["output"]["content"].as_str().expect("text");
    assert!(content.contains("Source Url: https://x/cats\n\nContent:\nCats sleep.\n"), "{content}");
    assert!(!content.contains("f1") && !content.contains("Note"), "{content}");
}

#[tokio::test]
async fn a_part_that_fails_fails_the_node() {
    let connection =
        json!({"type": "dynamiq.connections.OpenAI", "api_key": "k", "url": "http://127.0.0.1:1"});
    let parts = json!({
        "name": "books",
        "text_embedder": {
            "type": "dynamiq.nodes.embedders.OpenAITextEmbedder", "connection": connection,
            "error_handling": {"timeout_seconds": 0.05},
        },
        "document_retriever": {"type": format!("dynamiq.nodes.{RETRIEVER}")},
    });
    let read = node("retrievers.VectorStoreRetriever", &parts, &json!({"query": "x"}));
    let results = ran(Map::from_iter([("r".to_owned(), read)])).await;
    let error = &results["r"]["error"];
    assert_eq!((&error["type"], &error["recoverable"]), (&json!("ToolExecutionException"), &json!(true)));
    assert!(
        error["message"].as_str().is_some_and(|message| message.starts_with("`books` failed")),
        "{error}"
    );
}
