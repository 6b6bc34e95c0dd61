//! Approvals and questions, through `runyard dev` and the command line.

use crate::harness::{Home, PATIENCE};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// A node that needs approval, a parallel node that does not, and a question.
const GATED: &str = r#"
nodes:
  in: {type: dynamiq.nodes.utils.Input}
  gate: {type: dynamiq.nodes.transformers.TextTemplate, template: "OLD {{ amount }}", depends: [{node: in}], approval: {enabled: true, msg_template: "Pay {{ input_data.amount }}?", mutable_data_params: [amount]}, input_transformer: {selector: {amount: $.amount}}}
  beside: {type: dynamiq.nodes.operators.Pass, depends: [{node: in}], input_transformer: {selector: {done: $.amount}}}
  ask: {type: dynamiq.nodes.tools.HumanFeedbackTool, name: Ask, action: ask, depends: [{node: gate}], input_mapping: {input: "Sure?"}}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: ask}, {node: beside}], input_transformer: {selector: {gate: $.gate.output.content, said: $.ask.output.content}}}
flows: {f: {nodes: [in, gate, beside, ask, out]}}
workflows: {w: {flow: f}}
"#;

#[tokio::test]
async fn a_paused_run_stays_on_its_version_after_a_restart_and_a_changed_file() {
    let home = Home::new();
    home.app("gated", "", GATED);
    let server = home.start("dev").await;
    let (status, answer) = server.create("gated", &json!({"input": {"amount": 700}})).await;
    let run = answer["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!((status, &answer["data"]["status"]), (200, &json!("awaiting_input")), "{answer}");
    let (_, events) = server.get("gated", &format!("/v1/runs/{run}/events?page_size=100")).await;
    let went_on = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .any(|event| event["type"] == "node.completed" && event["data"]["node"]["id"] == "beside");
    assert!(went_on, "a branch that does not wait continues: {events}");
    server.kill().await;

    home.app("gated", "", &GATED.replace("OLD", "NEW"));
    let server = home.start("dev").await;
    let of_server = ["--url", &server.url(), "--key", &server.key, "--app", "gated"].map(str::to_owned);
    let input = async |arguments: &[&str]| {
        let mut line = vec!["runs", "input", &run];
        line.extend(arguments);
        line.extend(of_server.iter().map(String::as_str));
        home.run(&line).await
    };
    let done = input(&["--approve", "--params", "{\"amount\": 450}"]).await;
    assert_eq!((done.code, done.out.trim()), (0, "ok"), "{}", done.err);
    // The run pauses again, for the question.
    let started = Instant::now();
    let asked = loop {
        let (_, answer) = server.get("gated", &format!("/v1/runs/{run}")).await;
        if answer["data"]["input_requests"][0]["prompt"] == "Sure?" {
            break answer["data"].clone();
        }
        assert!(started.elapsed() < PATIENCE, "{answer}");
        sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(asked["input_requests"].as_array().unwrap().len(), 1);
    let done = input(&["--feedback", "quite"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    let ended = server.ended("gated", &run).await;
    assert_eq!(ended["output"], json!({"gate": "OLD 450", "said": "quite"}), "{ended}");
    let events = server.whole_log("gated", &run).await;
    let count = |r#type: &str| events.iter().filter(|event| event["type"] == r#type).count();
    assert_eq!(count("approval_request.created") + count("agent.human_feedback.requested"), 2, "{events:?}");

    // A new run is on the new version.
    let (_, answer) = server.create("gated", &json!({"input": {"amount": 1}})).await;
    let new = answer["data"]["id"].as_str().unwrap();
    let request = &answer["data"]["input_requests"][0]["id"];
    let body =
        json!({"type": "approval", "data": {"request_id": request, "approved": false, "feedback": "no"}});
    let path = format!("/v1/runs/{new}/input");
    assert_eq!(server.request("POST", "gated", &path).json(&body).send().await.unwrap().status(), 200);
    let denied = server.ended("gated", new).await;
    assert_eq!(denied["status"], "completed", "a denied node is skipped: {denied}");
    let events = server.whole_log("gated", new).await;
    let skipped: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "node.skipped")
        .map(|event| event["data"]["node"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(skipped[..2], ["gate", "ask"], "{events:?}");
}

#[tokio::test]
async fn a_failed_run_is_retried_from_the_command_line() {
    let home = Home::new();
    let flaky = r#"
nodes:
  one: {type: dynamiq.nodes.tools.Python, code: "import datetime\ndef run(d):\n    return {'content': datetime.datetime.now().isoformat()}\n"}
  two: {type: dynamiq.nodes.tools.Python, depends: [{node: one}], code: "def run(d):\n    raise ValueError('no')\n"}
flows: {f: {nodes: [one, two]}}
workflows: {w: {flow: f}}
"#;
    home.app("flaky", "", flaky);
    let server = home.start("dev").await;
    let (_, failed) = server.create("flaky", &json!({"input": {}})).await;
    let failed = &failed["data"];
    assert_eq!(failed["error"]["node"], "two", "{failed}");
    let (url, id) = (server.url(), failed["id"].as_str().unwrap());
    let arguments = ["runs", "retry", id, "--url", &url, "--key", &server.key, "--app", "flaky", "--json"];
    let done = home.run(&arguments).await;
    assert_eq!(done.code, 0, "{}", done.err);
    let retry = done.json();
    assert_eq!(retry["retry_of"], failed["id"]);
    let retry = server.ended("flaky", retry["id"].as_str().unwrap()).await;
    assert_eq!((&retry["status"], &retry["error"]["node"]), (&json!("failed"), &json!("two")), "{retry}");
    let mut times = Vec::new();
    for run in [failed, &retry] {
        let events = server.whole_log("flaky", run["id"].as_str().unwrap()).await;
        assert_eq!(events[0]["type"], "run.started");
        let first = events.iter().find(|event| event["type"] == "node.completed").unwrap();
        times.push(first["data"]["output"]["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(times[0], times[1], "the result that the first run recorded is kept");
}
