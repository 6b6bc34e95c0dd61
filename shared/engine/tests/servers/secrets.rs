//! Headers and secrets of a connection are sent to its origin only, and no text shows a secret.

use crate::{
    failure, flow, node, output,
    support::{
        Case,
        provider::{Answer, Provider},
    },
};
use serde_json::{Map, Value, json};

/// A server that redirects every request to the same path of another server.
async fn redirecting(status: u16, to: &str) -> Provider {
    let answer = Answer::new("text/plain", Vec::new()).status(status);
    Provider::start(vec![answer.header(&format!("location: {to}"))]).await
}

async fn answering() -> Provider {
    Provider::start(vec![Answer::json(&json!({"ok": true}))]).await
}

fn http(method: &str, url: &str) -> Value {
    json!({"connection": {
        "type": "dynamiq.connections.Http", "method": method, "url": url,
        "headers": {"X-Api-Key": "key-secret", "Authorization": "Bearer bearer-secret", "Cookie": "sid=cookie-secret", "Referer": "http://inner.example/referer-secret"},
        "params": {"token": "param-secret"}, "data": {"password": "body-secret"},
    }})
}

/// All requests to a server, as one text.
fn sent(provider: &Provider) -> String {
    format!("{:?}", provider.received())
}

#[tokio::test]
async fn a_redirect_to_another_origin_gets_no_header_body_or_secret() {
    for status in [301, 302, 303, 307, 308] {
        for method in ["GET", "POST", "DELETE"] {
            let other = answering().await;
            let first = redirecting(status, &format!("{}/elsewhere", other.url)).await;
            let mut settings = http(method, &format!("{}/x", first.url));
            if method == "GET" {
                settings["connection"].as_object_mut().expect("settings").remove("data");
            }
            let nodes = Map::from_iter([("n".to_owned(), node("tools.HttpApiCall", &settings, &json!({})))]);
            let result = Case::text(&flow(&nodes)).run().await["output"]["n"].clone();
            let becomes_get = status == 303 || (method == "POST" && status < 303);
            assert!(sent(&first).contains("key-secret") && sent(&first).contains("param-secret"));
            if method == "GET" || becomes_get {
                assert_eq!(result["status"], "success", "{status} {method}: {result}");
                let received = &other.received()[0];
                let names: Vec<&str> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(received.path, "/elsewhere");
                assert!(
                    names.iter().all(|name| ["accept", "host", "user-agent"].contains(name)),
                    "{names:?}"
                );
                assert_eq!(received.body, "");
            } else {
                assert_eq!(other.received().len(), 0, "{status} {method}");
                let message = result["error"]["message"].as_str().expect("an error");
                assert!(message.contains("another origin") && !message.contains("secret"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_with_a_secret_is_not_followed() {
    let other = answering().await;
    let first = redirecting(302, &format!("{}/x?again=param-secret", other.url)).await;
    let mut settings = http("GET", &first.url);
    settings["connection"].as_object_mut().expect("settings").remove("data");
    let (_, message) = failure(node("tools.HttpApiCall", &settings, &json!({}))).await;
    assert!(message.contains("a secret of the app") && !message.contains("param-secret"), "{message}");
    assert_eq!(other.received().len(), 0);
}

#[tokio::test]
async fn a_redirect_on_the_same_origin_keeps_the_request() {
    let answers = vec![
        Answer::new("text/plain", Vec::new()).status(308).header("location: /there?a=1"),
        Answer::new("text/plain", Vec::new()).status(302).header("location: again"),
        Answer::json(&json!({"ok": true})),
    ];
    let server = Provider::start(answers).await;
    output(node("tools.HttpApiCall", &http("POST", &format!("{}/x", server.url)), &json!({}))).await;
    let received = server.received();
    let paths: Vec<&str> = received.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/x?token=param-secret", "/there?a=1", "/again"]);
    assert!(received.iter().all(|request| request.header("x-api-key") == Some("key-secret")));
    assert_eq!(received[1].body, "password=body-secret");
    assert_eq!((&received[2].body, received[2].header("content-type")), (&json!(""), None));
    let around =
        Provider::start(vec![Answer::new("text/plain", Vec::new()).status(302).header("location: /again")])
            .await;
    let (_, message) = failure(node("tools.HttpApiCall", &http("GET", &around.url), &json!({}))).await;
    assert!(message.contains("more than 5 times"), "{message}");
    assert_eq!(around.received().len(), 6);
}

/// All clients use the same guard.
#[tokio::test]
async fn a_redirect_of_a_provider_to_another_origin_gets_no_request() {
    let other = answering().await;
    let of = |class: &str, url: &str| json!({"type": format!("dynamiq.connections.{class}"), "api_key": "key-secret", "url": url});
    let prompt = json!({"messages": [{"role": "user", "content": "private text"}]});
    let documents = json!([{"id": "a", "content": "private text"}]);
    for (class, connection, more, input) in [
        ("llms.OpenAI", "OpenAI", json!({"model": "m", "prompt": prompt}), json!({})),
        ("llms.Anthropic", "Anthropic", json!({"model": "m", "prompt": prompt}), json!({})),
        ("llms.AzureAI", "AzureAI", json!({"model": "m", "prompt": prompt, "api_version": "1"}), json!({})),
        ("llms.Gemini", "Gemini", json!({"model": "m", "prompt": prompt}), json!({})),
        ("llms.Cohere", "Cohere", json!({"model": "m", "prompt": prompt}), json!({})),
        ("embedders.OpenAITextEmbedder", "OpenAI", json!({}), json!({"query": "private text"})),
        ("embedders.GeminiTextEmbedder", "Gemini", json!({}), json!({"query": "private text"})),
        (
            "rankers.CohereReranker",
            "Cohere",
            json!({"model": "m"}),
            json!({"query": "private text", "documents": documents}),
        ),
        (
            "retrievers.QdrantDocumentRetriever",
            "Qdrant",
            json!({"index_name": "x"}),
            json!({"embedding": [1.0], "top_k": 1}),
        ),
        (
            "converters.UnstructuredFileConverter",
            "Unstructured",
            json!({}),
            json!({"files": [{"name": "a.txt", "base64": "cHJpdmF0ZQ=="}]}),
        ),
        (
            "tools.MCPTool",
            "MCPStreamableHTTP",
            json!({"name": "t", "description": "d", "json_input_schema": {"type": "object"}}),
            json!({}),
        ),
    ] {
        let first = redirecting(307, &format!("{}/elsewhere", other.url)).await;
        let mut settings = more;
        settings["connection"] = of(connection, &first.url);
        settings["connection"]["headers"] = json!({"X-Own": "header-secret"});
        if class.starts_with("llms.") {
            settings["api_base"] = first.url.as_str().into();
        }
        let (_, message) = failure(node(class, &settings, &input)).await;
        assert!(message.contains("another origin"), "{class}: {message}");
        assert!(!first.received().is_empty(), "{class} was not called: {message}");
        assert_eq!(sent(&other), "[]", "{class}");
        assert!(!message.contains("secret") && !message.contains("elsewhere"), "{class}: {message}");
    }
}

#[tokio::test]
async fn an_input_url_of_another_origin_gets_nothing_of_the_connection() {
    let (own, other) = (answering().await, answering().await);
    let port = other.url.rsplit(':').next().expect("a port");
    let own_port = own.url.rsplit(':').next().expect("a port");
    let mut settings = http("POST", &format!("{}/own", own.url));
    settings["headers"] = json!({"X-Node": "node-secret"});
    settings["params"] = json!({"code": "code-secret"});
    settings["data"] = json!({"pin": "pin-secret"});
    for url in [
        format!("{}/x", other.url),
        format!("http://localhost:{own_port}/x"),
        format!("http://localhost:{port}/x"),
        format!("http://127.0.0.1:{own_port}@127.0.0.1:{port}/x"),
    ] {
        let input = json!({"url": url, "data": {"a": "given"}, "headers": {"X-Own": "given"}, "params": {"q": "given"}});
        output(node("tools.HttpApiCall", &settings, &input)).await;
        let received = if url.starts_with(&format!("http://localhost:{own_port}")) {
            own.received()
        } else {
            other.received()
        };
        let last = format!("{:?}", received.last().expect("a request"));
        assert!(!last.contains("secret"), "{url}: {last}");
        assert_eq!(last.matches("given").count(), 3, "{url}: {last}");
    }
    let input = json!({"headers": {"HOST": "evil.example"}});
    let (_, message) = failure(node("tools.HttpApiCall", &settings, &input)).await;
    assert!(message.contains("the header `Host` follows from the URL"), "{message}");
    // The same origin in another notation gets all of it.
    let url = format!("HTTP://127.1:{own_port}/other");
    output(node("tools.HttpApiCall", &settings, &json!({"url": url}))).await;
    let last = format!("{:?}", own.received().last().expect("a request"));
    for secret in ["key", "bearer", "cookie", "param", "body", "node", "code", "pin"] {
        assert!(last.contains(&format!("{secret}-secret")), "{secret}: {last}");
    }
    // A connection without a URL has no origin.
    settings["connection"].as_object_mut().expect("settings").remove("url");
    output(node("tools.HttpApiCall", &settings, &json!({"url": other.url}))).await;
    let last = format!("{:?}", other.received().last().expect("a request"));
    assert!(!last.contains("secret"), "{last}");
    // Unless the node names one.
    settings["url"] = other.url.as_str().into();
    output(node("tools.HttpApiCall", &settings, &json!({}))).await;
    let last = format!("{:?}", other.received().last().expect("a request"));
    assert!(last.contains("key-secret") && last.contains("pin-secret"), "{last}");
}

#[tokio::test]
async fn errors_show_scheme_and_host_of_a_url() {
    for (url, shown) in [
        (
            "ftp://me:pass-word@host.example:2121/path-of-it?q=query-of-it",
            "ftp://host.example:2121 is not an HTTP or HTTPS URL",
        ),
        ("x:path-of-it", "a URL with the scheme `x` is not an HTTP or HTTPS URL"),
        ("path-of-it", "the given text is not an HTTP or HTTPS URL"),
        ("http://10.1.2.3/path-of-it?q=query-of-it", "10.1.2.3 is not a public address"),
    ] {
        let (_, message) =
            failure(node("tools.HttpApiCall", &http("GET", "http://127.0.0.1:9"), &json!({"url": url})))
                .await;
        assert!(message.contains(shown), "{message}");
        for hidden in ["path-of-it", "query-of-it", "pass-word", "secret"] {
            assert!(!message.contains(hidden), "{message}");
        }
    }
    let (_, message) =
        failure(node("tools.HttpApiCall", &http("GET", "http://127.0.0.1:9/path-of-it"), &json!({}))).await;
    assert!(!message.contains("path-of-it") && !message.contains("secret"), "{message}");
}

/// Everything that a run shows and records: results, events and journal.
async fn everything_shown(case: &Case) -> String {
    let results = case.run().await;
    let logged: Vec<Value> = case.events().iter().map(|logged| json!(logged)).collect();
    format!("{results}\n{}", Value::from(logged))
}

fn reading(headers: &Value, url: &str, more: &Value) -> String {
    let mut settings = more.clone();
    settings["connection"] =
        json!({"type": "dynamiq.connections.Http", "method": "GET", "url": url, "headers": headers});
    flow(&Map::from_iter([("n".to_owned(), node("tools.HttpApiCall", &settings, &json!({})))]))
}

#[tokio::test]
async fn secrets_in_responses_are_masked_in_errors_outputs_events_and_journal() {
    let shown = "dock-4711-secret dock-4711%2Dsecret ZG9jay00NzExLXNlY3JldA== gpt-4o-mini";
    for (status, body) in [
        (401, json!({"error": format!("bad key {shown}")})),
        (500, json!({"error": {"message": shown}})),
        (200, json!({"headers": {"X-Api-Key": "dock-4711-secret", "dock-4711-secret": [shown]}})),
    ] {
        let server = Provider::start(vec![Answer::json(&body).status(status)]).await;
        let text = reading(
            &json!({"X-Api-Key": "${oc.env:DOCK_KEY}"}),
            &server.url,
            &json!({"error_handling": {"behavior": "return"}}),
        );
        let case = Case::text(&text).env("DOCK_KEY", "dock-4711-secret");
        let text = everything_shown(&case).await;
        assert_eq!(server.received()[0].header("x-api-key"), Some("dock-4711-secret"));
        assert!(!text.contains("dock-4711-secret") && !text.contains("ZG9jay00NzExLXNlY3Jld"), "{text}");
        assert!(text.contains("***") && text.contains("gpt-4o-mini"), "{text}");
    }
}

#[tokio::test]
async fn a_key_in_a_models_answer_is_masked() {
    let chunk =
        |text: &str| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
    let whole = json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "it is sk-4711-abc"}}]});
    let pieces =
        [chunk("it is sk-47"), chunk("11-a"), chunk("bc, is it"), "data: [DONE]\n\n".to_owned()].concat();
    let refused =
        json!({"error": {"message": "Incorrect API key provided: sk-4711-abc", "code": "invalid_api_key"}});
    for (answer, stream) in [
        (Answer::json(&whole), false),
        (Answer::events(&pieces), true),
        (Answer::json(&refused).status(401), false),
    ] {
        let provider = Provider::start(vec![answer]).await;
        let settings = json!({
            "model": "m", "streaming": {"enabled": stream},
            "connection": {"type": "dynamiq.connections.OpenAI", "api_key": "sk-4711-abc", "url": provider.url},
            "prompt": {"messages": [{"role": "user", "content": "which key?"}]},
        });
        let nodes = Map::from_iter([("n".to_owned(), node("llms.OpenAI", &settings, &json!({})))]);
        let text = everything_shown(&Case::text(&flow(&nodes))).await;
        assert_eq!(provider.received()[0].header("authorization"), Some("Bearer sk-4711-abc"));
        assert!(text.contains("***") && !text.contains("sk-47") && !text.contains("11-a"), "{text}");
    }
}

#[tokio::test]
async fn secrets_that_an_author_outputs_are_masked_too() {
    let code = "def run(input_data):\n    if input_data.get('fail'):\n        raise ValueError('${oc.env:DB_PASSWORD} for ${oc.env:TENANT}')\n    return ['${oc.env:DB_PASSWORD}', '${oc.env:TENANT}']";
    for (input, expected) in [(json!({}), "acme-inc"), (json!({"fail": true}), "*** for ***")] {
        let nodes = Map::from_iter([("n".to_owned(), node("tools.Python", &json!({"code": code}), &input))]);
        let case = Case::text(&flow(&nodes)).env("DB_PASSWORD", "hunter2").env("TENANT", "acme-inc");
        let text = everything_shown(&case).await;
        assert!(!text.contains("hunter2") && text.contains("***") && text.contains(expected), "{text}");
    }
}
