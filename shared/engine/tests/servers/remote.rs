//! Services that are called over HTTP, with canned responses: the requests, and how responses are parsed.

use crate::{
    canned::Canned,
    failure, node, output,
    support::{
        Case,
        provider::{Answer, Provider, Received},
    },
};
use serde_json::{Value, json};

fn connection(class: &str, url: &str) -> Value {
    json!({"type": format!("dynamiq.connections.{class}"), "api_key": "k", "url": url})
}

#[tokio::test]
async fn embeds_with_cohere() {
    let answer = json!({"embeddings": {"float": [[1.0, 0.5], [0.0, 1.0]]}, "meta": {"billed_units": {"input_tokens": 7}}});
    let server = Canned::start(vec![("POST /v2/embed", 200, answer)]).await;
    let settings = json!({
        "connection": connection("Cohere", &server.url), "meta_fields_to_embed": ["title", "none"], "dimensions": 256,
    });
    let documents =
        json!([{"id": "a", "content": "x", "metadata": {"title": 5}}, {"id": "b", "content": "y"}]);
    let embedded =
        output(node("embedders.CohereDocumentEmbedder", &settings, &json!({"documents": documents}))).await;
    assert_eq!(embedded["documents"][1]["embedding"], json!([0.0, 1.0]));
    assert_eq!(embedded["meta"]["usage"]["prompt_tokens"], 7);
    let sent = &server.requests()[0];
    assert!(sent.headers.contains("authorization: bearer k"), "{}", sent.headers);
    assert_eq!(
        sent.body,
        json!({
            "model": "embed-v4.0", "texts": ["5\nx", "y"], "input_type": "search_document",
            "embedding_types": ["float"], "truncate": "NONE", "output_dimension": 256,
        })
    );
}

#[tokio::test]
async fn embeds_with_gemini() {
    let answer = json!({"embeddings": [{"values": [1.0, 0.5]}]});
    let server = Canned::start(vec![("POST /v1beta/models/m:batchEmbedContents", 200, answer)]).await;
    let settings = json!({"connection": connection("Gemini", &server.url), "model": "gemini/m"});
    let embedded = output(node("embedders.GeminiTextEmbedder", &settings, &json!({"query": "a\nb"}))).await;
    assert_eq!(embedded, json!({"embedding": [1.0, 0.5], "query": "a\nb"}));
    let sent = &server.requests()[0];
    assert!(sent.headers.contains("x-goog-api-key: k"), "{}", sent.headers);
    let content = json!({"parts": [{"text": "a b"}]});
    let request = json!({"model": "models/m", "content": content, "taskType": "RETRIEVAL_QUERY"});
    assert_eq!(sent.body, json!({"requests": [request]}));
}

#[tokio::test]
async fn an_embedder_retries_and_reports_its_error() {
    let refusal = json!({"error": {"message": "slow down"}});
    let server = Canned::start(vec![("POST /embeddings", 429, refusal.clone())]).await;
    let settings = json!({"connection": connection("Mistral", &server.url)});
    let (kind, message) =
        failure(node("embedders.MistralTextEmbedder", &settings, &json!({"query": "x"}))).await;
    assert_eq!(kind, "RateLimitError");
    assert!(message.contains("Mistral answered 429: slow down"), "{message}");
    assert_eq!(server.requests().len(), 3);
    assert_eq!(server.requests()[0].body, json!({"model": "mistral-embed", "input": ["x"]}));
    let server = Canned::start(vec![("POST /embeddings", 401, refusal)]).await;
    let settings = json!({"connection": connection("OpenAI", &server.url)});
    let (kind, _) = failure(node("embedders.OpenAITextEmbedder", &settings, &json!({"query": "x"}))).await;
    assert_eq!((kind.as_str(), server.requests().len()), ("AuthenticationError", 1));
}

#[tokio::test]
async fn ranks_with_cohere() {
    let answer = json!({"results": [
        {"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.6}, {"index": 2, "relevance_score": 0.1},
    ]});
    let server = Canned::start(vec![("POST /v2/rerank", 200, answer)]).await;
    let settings = json!({
        "connection": connection("Cohere", &server.url), "model": "cohere/rerank-v4.0", "top_k": 3, "threshold": 0.5,
    });
    let documents =
        json!([{"id": "a", "content": "x"}, {"id": "b", "content": "y"}, {"id": "c", "content": "z"}]);
    let input = json!({"query": "q", "documents": documents});
    let ranked = output(node("rankers.CohereReranker", &settings, &input)).await;
    assert_eq!(crate::found(&ranked["documents"]), [("b".to_owned(), 0.9), ("a".to_owned(), 0.6)]);
    assert_eq!(
        server.requests()[0].body,
        json!({"model": "rerank-v4.0", "query": "q", "documents": ["x", "y", "z"], "top_n": 3})
    );
}

#[tokio::test]
async fn calls_outside_have_an_idempotency_key() {
    let server = Canned::start(vec![("", 200, json!({"ok": true}))]).await;
    let settings = |method: &str| {
        json!({"connection": {
            "type": "dynamiq.connections.Http", "method": method, "url": format!("{}/x", server.url), "headers": {"x-a": "b"},
        }})
    };
    output(node("tools.HttpApiCall", &settings("POST"), &json!({"data": {"a": 1}}))).await;
    output(node("tools.HttpApiCall", &settings("GET"), &json!({}))).await;
    let own = json!({"headers": {"Idempotency-Key": "mine", "X-A": "c"}});
    output(node("tools.HttpApiCall", &settings("DELETE"), &own)).await;
    let requests = server.requests();
    assert!(requests[0].headers.contains("idempotency-key: 00000000-0000-0000-0000-000000000001:n"));
    assert!(requests[0].headers.contains("content-type: application/x-www-form-urlencoded"));
    assert!(!requests[1].headers.contains("idempotency-key") && requests[1].headers.contains("x-a: b"));
    assert!(requests[2].headers.contains("idempotency-key: mine") && requests[2].headers.contains("x-a: c"));
}

/// The parts of a form with files, one per line: header and content.
fn parts(request: &Received) -> Vec<String> {
    let content_type = request.header("content-type").unwrap_or_default();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").expect("a form with files");
    let body = request.body.as_str().expect("no JSON");
    let body = body.strip_suffix(&format!("--{boundary}--\r\n")).expect("an end");
    let between = format!("--{boundary}\r\n");
    let parts = body.split(&between).skip(1);
    parts.map(|part| part.trim_end_matches("\r\n").replace("\r\n\r\n", " = ")).collect()
}

/// The request recorded from the reference's client: the entries of the form, then all files under one name.
#[tokio::test]
async fn uploads_files() {
    let provider = Provider::start(vec![Answer::json(&json!({"ok": true}))]).await;
    let settings = json!({"connection": {
        "type": "dynamiq.connections.Http", "method": "POST", "url": format!("{}/up", provider.url), "data": {"a": 1},
    }});
    let files = json!({
        "first": "00000000-0000-0000-0000-000000000064", "second": {"id": "00000000-0000-0000-0000-000000000065"}, "third": {"name": "x", "base64": "Zm91cg=="},
        "o\"ther": {"content": "five"},
    });
    let data = json!({"l": ["x", null, 2], "m": {"k": 1}, "n": null, "t": true});
    let sent = async |input: Value| {
        let nodes =
            serde_json::Map::from_iter([("n".to_owned(), node("tools.HttpApiCall", &settings, &input))]);
        let case = Case::text(&crate::flow(&nodes)).file("a.txt", "one").file("b.txt", "two");
        case.run().await["output"]["n"].clone()
    };
    assert_eq!(sent(json!({"files": files, "data": data})).await["status"], "success");
    assert_eq!(
        sent(json!({"files": {"up": {"content": "one"}}, "payload_type": "json"})).await["status"],
        "success"
    );
    let entry =
        |name: &str, value: &str| format!("Content-Disposition: form-data; name=\"{name}\" = {value}");
    let file = |name: &str, content: &str| {
        format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{name}\" = {content}")
    };
    let requests = provider.received();
    assert_eq!(
        parts(&requests[0]),
        [
            entry("a", "1"),
            entry("l", "x"),
            entry("l", "2"),
            entry("m", "k"),
            entry("t", "True"),
            file("first", "one"),
            file("second", "two"),
            file("third", "four"),
            file("o%22ther", "five"),
        ]
    );
    assert_eq!(parts(&requests[1]), [file("up", "one")]);
    // A text is not a file.
    let error = &sent(json!({"files": {"up": "none.txt"}})).await["error"];
    assert_eq!(error["type"], "ValidationError", "{error}");
    let error = &sent(json!({"files": {"up": "00000000-0000-0000-0000-000000000009"}})).await["error"];
    assert_eq!(error["type"], "FileNotFoundError", "{error}");
    assert_eq!(provider.received().len(), 2);
}

#[tokio::test]
async fn the_size_of_a_response_is_limited() {
    let server = Canned::start(vec![("GET", 200, json!("x".repeat(17 << 20)))]).await;
    let settings = json!({"connection": {"type": "dynamiq.connections.Http", "method": "GET", "url": server.url.clone()}});
    let (kind, message) = failure(node("tools.HttpApiCall", &settings, &json!({}))).await;
    assert_eq!(kind, "ToolExecutionException");
    assert!(message.contains("larger than 16 MiB"), "{message}");
}

#[tokio::test]
async fn embeds_with_bedrock() {
    let server = Canned::start(vec![
        (
            "POST /model/amazon.titan-embed-text-v2%3A0/invoke",
            200,
            json!({"embedding": [1.0, 0.5], "inputTextTokenCount": 3}),
        ),
        ("POST /model/cohere.embed-english-v3/invoke", 200, json!({"embeddings": [[1.0], [2.0]]})),
    ])
    .await;
    let settings = |model: &str| {
        let connection = json!({
            "type": "dynamiq.connections.AWS", "access_key_id": "AKID", "secret_access_key": "s", "region": "eu-west-1",
        });
        json!({"connection": connection, "model": model, "aws_bedrock_runtime_endpoint": server.url.clone()})
    };
    let input = json!({"documents": [{"id": "a", "content": "x"}, {"id": "b", "content": "y"}]});
    let titan = settings("amazon.titan-embed-text-v2:0");
    let embedded = output(node("embedders.BedrockDocumentEmbedder", &titan, &input)).await;
    assert_eq!(embedded["meta"]["usage"]["prompt_tokens"], 6);
    assert_eq!(embedded["documents"][1]["embedding"], json!([1.0, 0.5]));
    let cohere = settings("cohere.embed-english-v3");
    let embedded = output(node("embedders.BedrockDocumentEmbedder", &cohere, &input)).await;
    assert_eq!(embedded["documents"][1]["embedding"], json!([2.0]));
    let requests = server.requests();
    let bodies: Vec<&Value> = requests.iter().map(|request| &request.body).collect();
    assert_eq!(bodies[..2], [&json!({"inputText": "x"}), &json!({"inputText": "y"})]);
    assert_eq!(bodies[2], &json!({"texts": ["x", "y"], "input_type": "search_document"}));
    let signed = "authorization: aws4-hmac-sha256 credential=akid/";
    assert!(
        requests[0].headers.contains(signed)
            && requests[0].headers.contains("/eu-west-1/bedrock/aws4_request")
    );
}
