//! `apps/refund-agent` offline, as in docs/people.md.

use crate::harness::{Home, ORGANIZATION, PATIENCE, Server};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Starts the scripted model and the customer API, as docs/people.md does.
async fn offline() -> (Child, String) {
    let mut stub = Command::new("python3")
        .arg(repository().join("tests/llm/stub.py"))
        .arg(repository().join("apps/refund-agent/offline.json"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(stub.stdout.take().unwrap());
    tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await.expect("it starts").unwrap();
    (stub, line.trim().to_owned())
}

async fn started(home: &Home, url: &str) -> Server {
    let folder = home.apps().join("refund-agent");
    fs::create_dir_all(&folder).unwrap();
    for file in ["app.yaml", "workflow.yaml", "sample-input.json"] {
        let text = fs::read_to_string(repository().join("apps/refund-agent").join(file)).unwrap();
        // The development key belongs to the organization of the test's other apps.
        let text = text.replace("5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0001", ORGANIZATION);
        fs::write(folder.join(file), text).unwrap();
    }
    let customers = format!("{}/customers", url.trim_end_matches("/v1"));
    home.start_in(&[("OPENAI_URL", url.to_owned()), ("CUSTOMERS_URL", customers)], "dev").await
}

fn sample() -> Value {
    let text = fs::read_to_string(repository().join("apps/refund-agent/sample-input.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Creates a run that waits for a person; returns its id and that of its input request.
async fn asked(server: &Server) -> (String, String) {
    let (status, answer) = server.create("refund-agent", &json!({"input": sample()})).await;
    let run = &answer["data"];
    assert_eq!((status, &run["status"]), (200, &json!("awaiting_input")), "{answer} {}", server.log());
    let request = &run["input_requests"][0];
    assert_eq!(request["type"], "approval_request", "{answer}");
    assert_eq!(request["prompt"], "Refund 900 USD to C-17? The laptop arrived broken.");
    assert_eq!(
        (&request["params"]["amount"], &request["editable_params"]),
        (&json!(900), &json!(["amount"]))
    );
    assert!(request["expires_at"].is_string(), "{answer}");
    (run["id"].as_str().unwrap().to_owned(), request["id"].as_str().unwrap().to_owned())
}

async fn answer(server: &Server, run: &str, data: Value) -> (u16, Value) {
    let path = format!("/v1/runs/{run}/input");
    let body = json!({"type": "approval", "data": data});
    let answer = server.request("POST", "refund-agent", &path).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn tool_results(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ended = events.iter().filter(|event| {
        matches!(event["type"].as_str(), Some("agent.tool_call.completed" | "agent.tool_call.failed"))
    });
    ended.map(|event| (text(&event["data"]["tool"]["name"]), text(&event["data"]["result"]))).collect()
}

#[tokio::test]
async fn a_refund_over_500_waits_for_a_person_who_may_change_the_amount() {
    let (_stub, url) = offline().await;
    let home = Home::new();
    let server = started(&home, &url).await;
    let (run, request) = asked(&server).await;

    // Only the amount may be changed, and a run can wait for its answer while no server runs.
    let other = json!({"request_id": request, "approved": true, "params": {"customer_id": "C-23"}});
    let (status, refused) = answer(&server, &run, other).await;
    assert_eq!((status, refused["error"]["details"].as_object().unwrap().len()), (400, 1), "{refused}");
    server.kill().await;
    let server = started(&home, &url).await;

    let valid = json!({"request_id": request, "approved": true, "params": {"amount": 450}});
    assert_eq!(answer(&server, &run, valid.clone()).await.0, 200);
    assert_eq!(answer(&server, &run, valid).await.0, 400, "a request is answered once");
    let ended = server.ended("refund-agent", &run).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(
        ended["output"]["answer"].as_str().unwrap().starts_with("I am sorry for the trouble."),
        "{ended}"
    );
    assert_eq!(ended["usage"]["llm_calls"], 3, "no call is repeated: {ended}");
    let events = server.whole_log("refund-agent", &run).await;
    let results = tool_results(&events);
    assert_eq!(
        results.iter().map(|(tool, _)| tool.as_str()).collect::<Vec<_>>(),
        ["customer", "refund-over-500"]
    );
    assert!(results[1].1.contains("450.00 USD was refunded to C-17"), "{results:?}");
    assert!(results[1].1.starts_with("[A person changed `amount` from 900 to 450 before"), "{results:?}");
    let started = events.iter().rfind(|event| event["type"] == "agent.tool_call.started").unwrap();
    assert_eq!(started["data"]["input"]["amount"], 450, "the approved amount: {started}");
    let reasons: String = events
        .iter()
        .filter(|event| event["type"] == "agent.reasoning.delta")
        .filter_map(|event| event["data"]["delta"].as_str())
        .collect();
    assert!(reasons.contains("First I look the customer up."), "{reasons}");
}

#[tokio::test]
async fn a_denied_refund_is_not_paid_and_a_small_one_needs_no_approval() {
    let (_stub, url) = offline().await;
    let home = Home::new();
    let server = started(&home, &url).await;
    let (run, request) = asked(&server).await;
    let denial = json!({"request_id": request, "approved": false, "feedback": "no photo was sent"});
    assert_eq!(answer(&server, &run, denial).await.0, 200);
    let ended = server.ended("refund-agent", &run).await;
    assert_eq!(ended["output"], json!({"answer": "I am sorry, we cannot refund this order."}), "{ended}");

    let input = json!({"customer_id": "C-23", "request": "My mouse never came."});
    let (status, small) = server.create("refund-agent", &json!({"input": input})).await;
    assert_eq!((status, &small["data"]["status"]), (200, &json!("completed")), "{small}");
    let events = server.whole_log("refund-agent", small["data"]["id"].as_str().unwrap()).await;
    assert!(tool_results(&events)[1].1.contains("40.00 USD was refunded to C-23"), "{events:?}");
}
