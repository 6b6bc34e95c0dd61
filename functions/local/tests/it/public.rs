//! A public app with an approval: what anonymous callers may do, what a person approves, and the end of a revoked key.

use crate::harness::{Home, PATIENCE, Server};
use serde_json::{Value, json};
use tokio::time::timeout;

/// The approval's prompt uses the same names as the run's input, but the values come from a node in between.
const PAY: &str = r#"
nodes:
  in: {type: dynamiq.nodes.utils.Input}
  decide:
    type: dynamiq.nodes.tools.Python
    depends: [{node: in}]
    input_transformer: {path: $.in.output}
    code: |
      def run(d):
          return {"amount": 10000, "to": "attacker"}
  pay:
    type: dynamiq.nodes.tools.Python
    depends: [{node: decide}]
    input_transformer: {selector: {amount: $.decide.output.content.amount, to: $.decide.output.content.to}}
    approval: {enabled: true, msg_template: "Pay {{ input_data.amount }} to {{ input_data.to }}?", mutable_data_params: [amount, gone]}
    code: |
      def run(d):
          return "PAID %s to %s" % (d["amount"], d["to"])
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: pay}], input_transformer: {selector: {paid: $.pay.output.content}}}
flows: {f: {nodes: [in, decide, pay, out]}}
workflows: {w: {flow: f}}
"#;

async fn anonymous(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}{path}", server.url())).header("host", "pay.localhost");
    let response = request.json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn answer(request: &Value, params: &Value) -> Value {
    json!({
        "type": "approval", "user_id": "u-17",
        "data": {"request_id": request, "approved": true, "params": params},
    })
}

#[tokio::test]
async fn an_anonymous_run_does_exactly_what_a_person_approved() {
    let home = Home::new();
    home.app("pay", "public: true\n", PAY);
    let server = home.start("dev").await;
    let (status, created) =
        anonymous(&server, "/v1/runs", &json!({"input": {"amount": 5, "to": "my mother"}})).await;
    let run = created["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!((status, &created["data"]["status"]), (200, &json!("awaiting_input")), "{created}");
    let request = &created["data"]["input_requests"][0];
    assert_eq!(request["prompt"], "Pay 10000 to attacker?");
    assert_eq!(request["params"], json!({"amount": 10000, "to": "attacker"}));
    assert_eq!(request["editable_params"], json!(["amount"]));
    let path = format!("/v1/runs/{run}/input");
    let (status, refused) = anonymous(&server, &path, &answer(&request["id"], &json!({}))).await;
    assert_eq!(status, 401, "{refused}");

    let key_id = server.key.split('_').nth(1).unwrap().to_owned();
    let give = async |server: &Server, params: Value| {
        let request = server.request("POST", "pay", &path).json(&answer(&request["id"], &params));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    for (params, field) in [
        (json!({"amount": "450"}), "params.amount"),
        (json!({"amount": null}), "params.amount"),
        (json!({"gone": 1}), "params.gone"),
        (json!({"to": "me"}), "params.to"),
    ] {
        let (status, refused) = give(&server, params).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error"]["details"][field].is_string(), "{refused}");
    }
    server.kill().await;
    let server = home.start("dev").await;
    assert_eq!(give(&server, json!({"amount": 450, "to": "attacker"})).await.0, 200);
    let ended = server.ended("pay", &run).await;
    assert_eq!(ended["output"], json!({"paid": "PAID 450 to attacker"}), "{ended}");
    let events = server.whole_log("pay", &run).await;
    let find = |kind: &str, node: &Value| {
        events.iter().find(|event| event["type"] == kind && event["data"]["node"]["id"] == *node).unwrap()
    };
    let received = &find("input.received", &Value::Null)["data"];
    assert_eq!(received["approved"], true);
    assert_eq!(received["changes"], json!({"amount": {"from": 10000, "to": 450}}));
    assert_eq!(received["by"], json!({"key": key_id, "user_id": "u-17"}));
    assert_eq!(
        find("node.started", &json!("pay"))["data"]["input"],
        json!({"amount": 450, "to": "attacker"})
    );
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked() {
    let home = Home::new();
    home.app("pay", "", PAY);
    let server = home.start("dev").await;
    let made = home.run(&["keys", "create", "--org", crate::harness::ORGANIZATION]).await;
    let key = made.out.trim().to_owned();
    let body = json!({"input": {"amount": 5}, "stream": true});
    let request = server.request_with(&key, "pay.localhost", "POST", "/v1/runs").json(&body);
    let response = request.send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(home.run(&["keys", "revoke", &key]).await.code, 0);
    // Within 30 s; longer on a busy machine.
    let text = timeout(PATIENCE, response.text()).await.expect("it ends").unwrap();
    assert!(text.contains("event: run.paused") && !text.contains("event: run.completed"), "{text}");
    let again = server.request_with(&key, "pay.localhost", "GET", &format!("{location}/stream"));
    assert_eq!(again.send().await.unwrap().status(), 401);
    let (_, run) = server.get("pay", &location).await;
    assert_eq!(run["data"]["status"], "awaiting_input", "the run goes on: {run}");
}
