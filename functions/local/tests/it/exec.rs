//! `runyard exec`: the engine alone.

use crate::harness::{ECHO, Home};
use serde_json::{Value, json};
use std::{fs, path::Path};

#[tokio::test]
async fn exec_prints_the_output_or_the_results_of_a_file() {
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

/// Typical Python nodes in the sandbox, compared with the reference's results.
#[tokio::test]
async fn python_in_the_sandbox_matches_the_reference() {
    let home = Home::new();
    for name in ["python", "python_people"] {
        let case =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/dynamiq/more/{name}.yaml"));
        let text = fs::read_to_string(&case).unwrap();
        let input = text.lines().find_map(|line| line.strip_prefix("# input: ")).unwrap();
        let done = home.run(&["exec", case.to_str().unwrap(), "--input", input, "--results"]).await;
        let golden = fs::read_to_string(case.with_extension("json")).unwrap();
        let theirs: Value = serde_json::from_str(&golden).unwrap();
        let ours = done.json();
        for (id, theirs) in theirs["output"].as_object().unwrap() {
            let ours = &ours["output"][id];
            assert_eq!(ours["status"], theirs["status"], "{name}: {id}: {ours}");
            assert_eq!(ours["error"]["type"], theirs["error"]["type"], "{name}: {id}: {ours}");
            assert_eq!(ours["output"], theirs["output"], "{name}: {id}");
        }
    }
}
