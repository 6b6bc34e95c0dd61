//! Weaviate, with canned responses, because its server is not available to the tests.

use crate::{canned::Canned, failure, found, node, output};
use serde_json::{Value, json};

fn settings(url: &str, more: &Value) -> Value {
    let connection = json!({"type": "dynamiq.connections.Weaviate", "api_key": "k", "url": url});
    let mut settings = json!({"connection": connection, "index_name": "kb"});
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    settings
}

fn class(more: &Value) -> Value {
    let text = |name: &str| json!({"name": name, "dataType": ["text"]});
    let mut class = json!({
        "class": "Kb", "properties": [text("content"), text("_original_id"), text("lang")], "vectorConfig": {"default": {}},
    });
    for (key, value) in more.as_object().expect("settings") {
        class[key] = value.clone();
    }
    class
}

const WRITER: &str = "writers.WeaviateDocumentWriter";
const RETRIEVER: &str = "retrievers.WeaviateDocumentRetriever";

#[tokio::test]
async fn writes_documents() {
    let server = Canned::start(vec![
        ("GET /v1/schema/Kb/tenants", 200, json!([{"name": "other"}])),
        ("GET /v1/schema/Kb", 200, class(&json!({"multiTenancyConfig": {"enabled": true}}))),
        ("POST /v1/schema/Kb/tenants", 200, json!([])),
        ("POST /v1/batch/objects", 200, json!([{"result": {}}])),
    ])
    .await;
    let documents = json!([{"id": "a", "content": "x", "metadata": {"lang": "en"}, "embedding": [1.0, 0.5]}]);
    let more = json!({"tenant_name": "t1", "create_if_not_exist": true});
    let written = output(node(WRITER, &settings(&server.url, &more), &json!({"documents": documents}))).await;
    assert_eq!(written, json!({"upserted_count": 1}));
    let requests = server.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/schema/Kb",
            "GET /v1/schema/Kb/tenants",
            "POST /v1/schema/Kb/tenants",
            "POST /v1/batch/objects"
        ]
    );
    assert!(requests[0].headers.contains("authorization: bearer k"));
    assert_eq!(requests[2].body, json!([{"name": "t1"}]));
    let object = json!({
        // UUID 5 of the id in the DNS namespace, as in the reference's client.
        "class": "Kb", "id": "4f3f2898-69e3-5a0d-820a-c4e87987dbce", "tenant": "t1", "vectors": {"default": [1.0, 0.5]},
        "properties": {"content": "x", "_original_id": "a", "score": null, "lang": "en"},
    });
    assert_eq!(requests[3].body, json!({"objects": [object]}));
}

#[tokio::test]
async fn finds_documents() {
    let objects = json!([
        {"content": "x", "_original_id": "a", "lang": "en", "_additional": {"certainty": 0.9}},
        {"content": "y", "_original_id": "b", "lang": null, "_additional": {"certainty": 0.4}},
    ]);
    let server = Canned::start(vec![
        ("GET /v1/schema/Kb", 200, class(&json!({}))),
        ("POST /v1/graphql", 200, json!({"data": {"Get": {"Kb": objects}}})),
    ])
    .await;
    let input = json!({"embedding": [1.0, 0.5], "filters": {"lang": "en"}});
    let given = output(node(RETRIEVER, &settings(&server.url, &json!({"top_k": 2})), &input)).await;
    assert_eq!(found(&given["documents"]), [("a".to_owned(), 0.9), ("b".to_owned(), 0.4)]);
    assert_eq!(
        given["documents"][0],
        json!({"id": "a", "content": "x", "metadata": {"lang": "en"}, "score": 0.9, "embedding": null})
    );
    let query = server.requests()[1].body["query"].as_str().expect("a query").to_owned();
    let wanted = "where: {path: [\"lang\"], operator: Equal, valueText: \"en\"}";
    assert!(query.starts_with("{ Get { Kb(limit: 2, nearVector:") && query.contains(wanted), "{query}");
    for (threshold, expected) in [(0.5, vec!["a"]), (1.1, vec!["a"]), (1.3, vec!["a", "b"])] {
        let threshold = json!({"similarity_threshold": threshold});
        let given = output(node(RETRIEVER, &settings(&server.url, &threshold), &input)).await;
        assert_eq!(crate::ids(&given["documents"]), expected, "{threshold}");
    }
}

#[tokio::test]
async fn reports_errors() {
    let server = Canned::start(vec![("GET /v1/schema/Kb", 404, json!({}))]).await;
    let query = json!({"embedding": [1.0]});
    let (kind, message) = failure(node(RETRIEVER, &settings(&server.url, &json!({})), &query)).await;
    assert_eq!(kind, "ValueError");
    assert!(message.contains("no collection `Kb`"), "{message}");
    let refused = json!({"errors": [{"message": "no such field"}]});
    let server = Canned::start(vec![
        ("GET /v1/schema/Kb", 200, class(&json!({}))),
        ("POST /v1/graphql", 200, refused),
    ])
    .await;
    let (kind, message) = failure(node(RETRIEVER, &settings(&server.url, &json!({})), &query)).await;
    assert_eq!(kind, "VectorStoreException");
    assert!(message.contains("no such field"), "{message}");
    let tenant = settings(&server.url, &json!({"tenant_name": "t"}));
    assert_eq!(failure(node(RETRIEVER, &tenant, &query)).await.0, "ValueError");
}
