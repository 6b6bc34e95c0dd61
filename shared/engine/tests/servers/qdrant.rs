//! Qdrant, with canned responses, because its server is not available to the tests. The expected requests were recorded
//! from the reference's client.

use crate::{canned::Canned, failure, found, node, output};
use serde_json::{Value, json};

fn settings(url: &str, more: &Value) -> Value {
    let connection = json!({"type": "dynamiq.connections.Qdrant", "api_key": "k", "url": url});
    let mut settings = json!({"connection": connection, "index_name": "kb"});
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    settings
}

fn result(result: &Value) -> Value {
    json!({"result": result, "status": "ok", "time": 0.1})
}

fn exists(exists: bool) -> (&'static str, u16, Value) {
    ("GET /collections/kb/exists", 200, result(&json!({"exists": exists})))
}

fn lines(server: &Canned) -> Vec<String> {
    server.requests().into_iter().map(|request| request.line).collect()
}

const WRITER: &str = "writers.QdrantDocumentWriter";
const RETRIEVER: &str = "retrievers.QdrantDocumentRetriever";

#[tokio::test]
async fn creates_a_missing_collection_and_writes() {
    let server = Canned::start(vec![
        exists(false),
        ("PUT /collections/kb/points", 200, result(&json!({"status": "completed"}))),
        ("PUT /collections/kb", 200, result(&json!(true))),
        ("POST /collections/kb/points", 200, result(&json!([]))),
    ])
    .await;
    let documents = json!([
        {"id": "a", "content": "x", "metadata": {"lang": "en"}, "embedding": [1.0, 0.5]},
        {"id": "a", "content": "again", "embedding": [1.0, 0.5]},
        {"id": "b", "content": "y"},
    ]);
    let more = json!({"create_if_not_exist": true, "dimension": 2, "metric": "l2"});
    let input = json!({"documents": documents, "content_key": "text"});
    let written = output(node(WRITER, &settings(&server.url, &more), &input)).await;
    assert_eq!(written, json!({"upserted_count": 2}));
    assert_eq!(
        lines(&server),
        [
            "GET /collections/kb/exists",
            "PUT /collections/kb",
            "POST /collections/kb/points",
            "PUT /collections/kb/points?wait=true"
        ]
    );
    let requests = server.requests();
    assert!(requests[0].headers.contains("api-key: k"));
    assert_eq!(requests[1].body, json!({"vectors": {"size": 2, "distance": "Euclid", "on_disk": false}}));
    let (a, b) = ("35b65f33a6795e76af3c273ea349ede4", "19e199446a225469a79dfddca30fad12");
    assert_eq!(requests[2].body["ids"], json!([a, b]));
    let a = json!({
        "id": a, "vector": [1.0, 0.5],
        "payload": {"id": "a", "metadata": {"lang": "en"}, "score": null, "text": "x"},
    });
    let b = json!({
        "id": b, "vector": {}, "payload": {"id": "b", "metadata": null, "score": null, "text": "y"},
    });
    assert_eq!(requests[3].body, json!({"points": [a, b]}));
}

#[tokio::test]
async fn replaces_no_other_document() {
    let there = json!([{
        "id": "35b65f33-a679-5e76-af3c-273ea349ede4",
        "payload": {"id": "a", "metadata": null, "score": null, "content": "x"},
    }]);
    let server = Canned::start(vec![
        exists(true),
        ("PUT /collections/kb/points", 200, result(&json!({"status": "completed"}))),
        ("POST /collections/kb/points", 200, result(&there)),
    ])
    .await;
    let document =
        |content: &str| json!({"documents": [{"id": "a", "content": content, "embedding": [1.0]}]});
    // A document that was written by a worker that died before it recorded that.
    let written = output(node(WRITER, &settings(&server.url, &json!({})), &document("x"))).await;
    assert_eq!(written, json!({"upserted_count": 1}));
    let (kind, message) = failure(node(WRITER, &settings(&server.url, &json!({})), &document("y"))).await;
    assert_eq!(kind, "VectorStoreDuplicateDocumentException");
    assert_eq!(message, "the collection `kb` has other documents of these ids: a");
    assert_eq!(lines(&server).iter().filter(|line| line.starts_with("PUT")).count(), 1);
}

#[tokio::test]
async fn finds_documents_and_indexes_filter_fields() {
    let points = json!({"points": [
        {"id": "35b65f33-a679-5e76-af3c-273ea349ede4", "score": 0.9,
         "payload": {"id": "a", "content": "x", "metadata": {"lang": "en"}, "score": null}},
        {"id": "19e19944-6a22-5469-a79d-fddca30fad12", "score": 0.4, "payload": {"content": "y"}},
    ]});
    let lacks = "Bad request: Index required but not found for \"metadata.lang\" of one of the following types: \
                 [keyword]. Help: Create an index for this key or use a different filter.";
    let server = Canned::start_in_turn(vec![
        ("POST /collections/kb/points/query", 400, json!({"status": {"error": lacks}, "time": 0.1})),
        ("PUT /collections/kb/index", 200, result(&json!({"status": "completed"}))),
        ("POST /collections/kb/points/query", 200, result(&points)),
    ])
    .await;
    let input = json!({"embedding": [1.0, 0.5], "filters": {"lang": "en"}, "similarity_threshold": 0.3});
    let given = output(node(RETRIEVER, &settings(&server.url, &json!({"top_k": 2})), &input)).await;
    assert_eq!(
        given["documents"][0],
        json!({"id": "a", "content": "x", "metadata": {"lang": "en"}, "score": 0.9, "embedding": null})
    );
    let unnamed = "19e19944-6a22-5469-a79d-fddca30fad12".to_owned();
    assert_eq!(found(&given["documents"]), [("a".to_owned(), 0.9), (unnamed, 0.4)]);
    let requests = server.requests();
    assert_eq!(requests[1].line, "PUT /collections/kb/index?wait=true");
    assert_eq!(requests[1].body, json!({"field_name": "metadata.lang", "field_schema": "keyword"}));
    let filter = json!({"must": [{"key": "metadata.lang", "match": {"value": "en"}}]});
    let query = json!({
        "query": {"nearest": [1.0, 0.5]}, "filter": filter, "score_threshold": 0.3, "limit": 2,
        "with_vector": false, "with_payload": true,
    });
    assert_eq!((&requests[0].body, &requests[2].body), (&query, &query));
}

#[tokio::test]
async fn reports_errors() {
    let error = json!({"status": {"error": "Wrong input: Vector dimension error"}});
    let server = Canned::start(vec![exists(false), ("POST /collections/kb/points/query", 400, error)]).await;
    let settings = settings(&server.url, &json!({}));
    let input = json!({"documents": [{"id": "a", "content": "x"}]});
    let (kind, message) = failure(node(WRITER, &settings, &input)).await;
    assert_eq!(kind, "QdrantStoreError");
    assert!(message.contains("no collection `kb`"), "{message}");
    let (kind, message) = failure(node(RETRIEVER, &settings, &json!({"embedding": [1.0]}))).await;
    assert_eq!(kind, "VectorStoreException");
    assert_eq!(message, "Qdrant answered 400: Wrong input: Vector dimension error");
}
