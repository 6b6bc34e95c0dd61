//! Pinecone, with canned responses, because it is available as a service only. The expected requests were recorded from
//! the reference's client.

use crate::{canned::Canned, failure, found, ids, node, output};
use serde_json::{Value, json};

fn settings(url: &str, more: &Value) -> Value {
    let connection = json!({"type": "dynamiq.connections.Pinecone", "api_key": "k", "host": url});
    let mut settings = json!({"connection": connection, "index_name": "kb"});
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    settings
}

/// Pinecone's description of the index. As with the real service, the index has another host.
fn index(host: &str) -> Value {
    json!({"name": "kb", "dimension": 2, "metric": "cosine", "host": host, "status": {"ready": true}})
}

const WRITER: &str = "writers.PineconeDocumentWriter";
const RETRIEVER: &str = "retrievers.PineconeDocumentRetriever";

#[tokio::test]
async fn writes_documents() {
    let data = Canned::start(vec![("POST /vectors/upsert", 200, json!({"upsertedCount": 2}))]).await;
    let control = Canned::start(vec![("GET /indexes/kb", 200, index(&data.url))]).await;
    let documents = json!([
        {"id": "a", "content": "x", "metadata": {"lang": "en"}, "embedding": [1.0, 0.5]},
        {"id": "b", "content": "y"},
        {"id": "c", "content": "z", "embedding": [0.0, 1.0]},
    ]);
    let more = json!({"namespace": "n", "batch_size": 2, "dimension": 2});
    let input = json!({"documents": documents, "content_key": "text"});
    // The server reports how many it wrote.
    assert_eq!(
        output(node(WRITER, &settings(&control.url, &more), &input)).await,
        json!({"upserted_count": 4})
    );
    let (control_requests, sent) = (control.requests(), data.requests());
    assert_eq!(
        control_requests.iter().map(|request| request.line.as_str()).collect::<Vec<_>>(),
        ["GET /indexes/kb"]
    );
    assert!(control_requests[0].headers.contains("api-key: k") && sent[0].headers.contains("api-key: k"));
    let bodies: Vec<&Value> = sent.iter().map(|request| &request.body).collect();
    assert_eq!(
        bodies,
        [
            &json!({"namespace": "n", "vectors": [
                {"id": "a", "values": [1.0, 0.5], "metadata": {"lang": "en", "text": "x"}},
                {"id": "b", "values": [-10.0, -10.0], "metadata": {"text": "y"}},
            ]}),
            &json!({"namespace": "n", "vectors": [{"id": "c", "values": [0.0, 1.0], "metadata": {"text": "z"}}]}),
        ]
    );
}

#[tokio::test]
async fn creates_a_missing_index() {
    let data = Canned::start(vec![("POST /vectors/upsert", 200, json!({"upsertedCount": 1}))]).await;
    let control = Canned::start_in_turn(vec![
        ("GET /indexes/kb", 404, json!({"error": {"code": "NOT_FOUND"}})),
        ("POST /indexes", 201, json!({})),
        ("GET /indexes/kb", 200, index(&data.url)),
    ])
    .await;
    let more = json!({
        "create_if_not_exist": true, "index_type": "serverless", "cloud": "aws", "region": "us-east-1",
        "dimension": 2, "metric": "dotproduct",
    });
    let input = json!({"documents": [{"id": "a", "content": "x", "embedding": [1.0, 0.5]}]});
    let written = output(node(WRITER, &settings(&control.url, &more), &input)).await;
    assert_eq!(written, json!({"upserted_count": 1}));
    let spec = json!({"serverless": {"cloud": "aws", "region": "us-east-1"}});
    assert_eq!(
        control.requests()[1].body,
        json!({"name": "kb", "dimension": 2, "metric": "dotproduct", "spec": spec})
    );
    assert_eq!(control.requests().len(), 3);
    assert_eq!(data.requests()[0].body["namespace"], "default");
}

#[tokio::test]
async fn finds_documents() {
    let matches = json!([
        {"id": "a", "score": 0.9, "values": [], "metadata": {"content": "x", "lang": "en"}},
        {"id": "b", "score": 0.4, "values": []},
    ]);
    let data = Canned::start(vec![("POST /query", 200, json!({"matches": matches}))]).await;
    let control = Canned::start(vec![("GET /indexes/kb", 200, index(&data.url))]).await;
    let filters = json!({"operator": "AND", "conditions": [
        {"field": "metadata.year", "operator": ">", "value": 1},
        {"field": "tags", "operator": "contains_any", "value": ["a"]},
        {"field": "lang", "operator": "not in", "value": ["x"]},
    ]});
    let input = json!({"embedding": [1.0, 0.5], "filters": filters});
    let given = output(node(RETRIEVER, &settings(&control.url, &json!({"top_k": 2})), &input)).await;
    assert_eq!(found(&given["documents"]), [("a".to_owned(), 0.9), ("b".to_owned(), 0.4)]);
    assert_eq!(
        given["documents"][0],
        json!({"id": "a", "content": "x", "metadata": {"lang": "en"}, "score": 0.9, "embedding": null})
    );
    let filter = json!({"$and": [{"year": {"$gt": 1}}, {"tags": {"$in": ["a"]}}, {"lang": {"$nin": ["x"]}}]});
    assert_eq!(
        data.requests()[0].body,
        json!({
            "topK": 2, "vector": [1.0, 0.5], "namespace": "default", "filter": filter,
            "includeValues": false, "includeMetadata": true,
        })
    );
    for (more, expected) in [
        (json!({"similarity_threshold": 0.5}), vec!["a"]),
        (json!({"similarity_threshold": 0.5, "metric": "euclidean"}), vec!["b"]),
    ] {
        let given = output(node(RETRIEVER, &settings(&control.url, &more), &input)).await;
        assert_eq!(ids(&given["documents"]), expected, "{more}");
    }
}

#[tokio::test]
async fn reports_errors() {
    let control = Canned::start(vec![]).await;
    let query = json!({"embedding": [1.0]});
    let (kind, message) = failure(node(RETRIEVER, &settings(&control.url, &json!({})), &query)).await;
    assert_eq!(kind, "ValueError");
    assert!(message.contains("no index `kb`"), "{message}");
    let error = json!({"code": 3, "message": "Vector dimension 1 does not match", "details": []});
    let data = Canned::start(vec![("POST /query", 400, error)]).await;
    let control = Canned::start(vec![("GET /indexes/kb", 200, index(&data.url))]).await;
    let settings = settings(&control.url, &json!({}));
    let (kind, message) = failure(node(RETRIEVER, &settings, &query)).await;
    assert_eq!(kind, "VectorStoreException");
    assert_eq!(message, "Pinecone answered 400: Vector dimension 1 does not match");
    for filters in [
        json!({"field": "on", "operator": "<", "value": "2020-01-01"}),
        json!({"lang": null}),
        json!({"operator": "NOT", "conditions": [{"field": "a", "operator": "==", "value": 1}]}),
    ] {
        let query = json!({"embedding": [1.0], "filters": filters});
        let (kind, message) = failure(node(RETRIEVER, &settings, &query)).await;
        assert_eq!(kind, "VectorStoreFilterException", "{filters}: {message}");
    }
}
