//! Tests stores and MCP against real servers, which the tests install into `target/` and start.

mod canned;
mod chroma;
mod held;
mod mcp;
mod pgvector;
mod pinecone;
mod qdrant;
mod remote;
mod secrets;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod weaviate;

use serde_json::{Map, Value, json};
use support::Case;

/// A workflow of these nodes, by id; written as JSON, which is valid YAML.
fn flow(nodes: &Map<String, Value>) -> String {
    let ids: Vec<&String> = nodes.keys().collect();
    // A store accepts as many concurrent requests as it has connections.
    json!({
        "nodes": nodes,
        "flows": {"f": {"nodes": ids, "max_node_workers": 8}},
        "workflows": {"w": {"flow": "f"}},
    })
    .to_string()
}

/// A node that gets only `input`.
fn node(class: &str, settings: &Value, input: &Value) -> Value {
    let mut node = json!({
        "type": format!("dynamiq.nodes.{class}"),
        "input_transformer": {"selector": {"nothing": "nothing"}},
        "input_mapping": input,
        "error_handling": {"behavior": "return"},
    });
    for (key, value) in settings.as_object().expect("settings") {
        node[key] = value.clone();
    }
    node
}

/// The results of concurrent nodes.
async fn ran(nodes: Map<String, Value>) -> Map<String, Value> {
    let results = Case::text(&flow(&nodes)).run().await;
    results["output"].as_object().expect("results").clone()
}

/// The output of one node.
async fn output(node: Value) -> Value {
    let results = ran(Map::from_iter([("n".to_owned(), node)])).await;
    assert_eq!(results["n"]["status"], "success", "{}", results["n"]["error"]);
    results["n"]["output"].clone()
}

/// The type and message of the error of one node.
async fn failure(node: Value) -> (String, String) {
    let results = ran(Map::from_iter([("n".to_owned(), node)])).await;
    let error = &results["n"]["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("no error: {}", results["n"]));
    (text("type").to_owned(), text("message").to_owned())
}

/// Ids and scores; documents with the same score are sorted by id.
fn found(documents: &Value) -> Vec<(String, f64)> {
    let documents = documents.as_array().expect("documents");
    let mut found: Vec<(String, f64)> = documents
        .iter()
        .map(|document| {
            let score = document["score"].as_f64().expect("a score");
            (document["id"].as_str().expect("an id").to_owned(), score)
        })
        .collect();
    for pair in 1..found.len() {
        let mut index = pair;
        while index > 0
            && (found[index - 1].1 - found[index].1).abs() < 1e-6
            && found[index - 1].0 > found[index].0
        {
            found.swap(index - 1, index);
            index -= 1;
        }
    }
    found
}

fn ids(documents: &Value) -> Vec<String> {
    found(documents).into_iter().map(|(id, _)| id).collect()
}

/// The reference's results with pgvector.
fn table() -> Value {
    let text = std::fs::read_to_string(support::shared("dynamiq/tables/pgvector.json")).expect("the table");
    serde_json::from_str(&text).expect("JSON")
}

/// Runs every case with `retriever`, after the node `before` if there is one; returns the differences to the reference,
/// one per line.
async fn differences(
    cases: &[Value],
    before: Option<Value>,
    retriever: impl Fn(&Value) -> Value,
) -> Vec<String> {
    let depends: Vec<Value> = before.iter().map(|_| json!({"node": "before"})).collect();
    let nodes = cases.iter().enumerate().map(|(index, case)| {
        let mut node = retriever(case);
        node["depends"] = depends.clone().into();
        (format!("n{index}"), node)
    });
    let before = before.map(|node| ("before".to_owned(), node));
    let results = ran(before.into_iter().chain(nodes).collect()).await;
    let close = |ours: &[(String, f64)], theirs: &[(String, f64)]| {
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .all(|(ours, theirs)| ours.0 == theirs.0 && (ours.1 - theirs.1).abs() < 1e-6)
    };
    cases
        .iter()
        .enumerate()
        .filter(|(index, case)| {
            let result = &results[&format!("n{index}")];
            match case.get("gives") {
                Some(theirs) if result["status"] == "success" => {
                    !close(&found(&result["output"]["documents"]), &found(theirs))
                }
                Some(_) => true,
                None => result["error"]["type"] != case["raises"],
            }
        })
        .map(|(index, case)| format!("{case}\n    ours: {}", results[&format!("n{index}")]))
        .collect()
}
