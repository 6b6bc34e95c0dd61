//! `runyard exec`: the engine alone.

use crate::harness::{ECHO, Home};
use serde_json::json;
use std::fs;

#[tokio::test]
async fn a_file_is_executed_alone_and_its_results_are_printed() {
    let home = Home::new();
    let file = home.path().join("w.yaml");
    let name = file.to_str().unwrap();
    fs::write(&file, ECHO).unwrap();
    let done = home.run(&["exec", name, "--input", "{\"message\": \"hi\"}"]).await;
    assert_eq!((done.code, done.json()), (0, json!({"message": "hi"})), "{}", done.err);

    let results = home.run(&["exec", name, "--input", "{\"message\": \"hi\"}", "--results"]).await;
    assert_eq!(results.code, 0, "{}", results.err);
    let results = results.json();
    assert_eq!(results["status"], "success", "{results}");
    assert_eq!(results["output"]["out"]["output"], json!({"message": "hi"}), "{results}");

    fs::write(&file, ECHO.replace("dynamiq.nodes.utils.Output", "no.such.Node")).unwrap();
    let done = home.run(&["exec", name, "--input", "{\"message\": \"hi\"}", "--results"]).await;
    assert_ne!(done.code, 0);
    assert_eq!(done.out, "");
    assert!(done.err.contains("no.such.Node"), "{}", done.err);

    let done = home.run(&["exec", "nowhere.yaml"]).await;
    assert_ne!(done.code, 0);
    assert!(!home.data().exists(), "nothing is stored");
}
