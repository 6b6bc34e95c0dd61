//! Every case of the reference that runs natively, against what the reference printed for it.

mod support;

use serde_json::{Value, json};
use support::{Case, golden};

/// Compares status, error and every node's result. What a skipped node was given depends on timing in the reference.
fn assert_same(name: &str, ours: &Value) {
    let theirs = golden(name);
    assert_eq!(ours["status"], theirs["status"], "{name}: status");
    assert_eq!(ours["error"]["type"], theirs["error"]["type"], "{name}: error");
    assert_eq!(ours["error"]["message"], theirs["error"]["message"], "{name}: error");
    assert_eq!(ours["error"]["failed_nodes"], theirs["error"]["failed_nodes"], "{name}: error");
    let (ours, theirs) = (&ours["output"], &theirs["output"]);
    let ids = |results: &Value| {
        let mut ids: Vec<String> = results.as_object().expect("results by node").keys().cloned().collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(ours), ids(theirs), "{name}: nodes");
    for id in ids(theirs) {
        let (ours, theirs) = (&ours[&id], &theirs[&id]);
        assert_eq!(ours["status"], theirs["status"], "{name}: status of {id}");
        assert_eq!(ours["error"], theirs["error"], "{name}: error of {id}");
        if theirs["status"] != "skip" {
            assert_eq!(untimed(&ours["output"]), untimed(&theirs["output"]), "{name}: output of {id}");
            assert_eq!(untimed(&ours["input"]), untimed(&theirs["input"]), "{name}: input of {id}");
        }
    }
}

/// Without what depends on timing: a node without a transformer sees whichever other nodes have ended.
fn untimed(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "cond" | "d"))
            .map(|(key, value)| (key.clone(), untimed(value)))
            .collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn passes() {
    assert_same("passes", &Case::new("passes").input(json!({"q": "hi"})).run().await);
}

#[tokio::test]
async fn five() {
    assert_same("five", &Case::new("five").input(json!({"q": "hi"})).run().await);
}

#[tokio::test]
async fn choice() {
    assert_same("choice", &Case::new("choice").input(json!({"n": 7, "tag": "abc"})).run().await);
}

#[tokio::test]
async fn errors() {
    assert_same("errors", &Case::new("errors").run().await);
}
