//! `runyard dev`: the key, the printed curl commands, reloading.

use crate::harness::{ECHO, Home, PATIENCE, Server, assert_whole, events_of};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

#[tokio::test]
async fn the_key_is_created_once_with_private_permissions_and_the_curl_commands_work() {
    let home = Home::new();
    fs::write(home.apps().join("echo/sample-input.json"), "{\"message\": \"it's ü\"}").unwrap();
    let server = home.start("dev").await;
    let key_file = home.data().join("dev-key");
    assert_eq!(fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read_to_string(&key_file).unwrap().trim().to_owned();
    let first = printed(&server).await;
    assert_eq!(first.lines().filter(|line| line.trim() == key).count(), 1, "{first}");
    try_curl_lines(&home, &first).await;
    server.kill().await;

    let server = home.start("dev").await;
    assert_eq!(fs::read_to_string(&key_file).unwrap().trim(), key);
    let second = printed(&server).await;
    assert!(!second.contains(&key) && second.contains("dev-key)"), "{second}");
    try_curl_lines(&home, &second).await;
    server.kill().await;

    // A key that is unknown to the data directory is replaced.
    fs::write(&key_file, format!("ry_{}_{}", "0".repeat(16), "0".repeat(64))).unwrap();
    let server = home.start("dev").await;
    assert_eq!(server.get("echo", "/v1/runs").await.0, 200);
}

/// Returns what the server printed at its start. It listens before it has printed everything.
async fn printed(server: &Server) -> String {
    until(async || server.log().matches("curl ").count() >= 4).await;
    server.log()
}

/// Executes the printed commands in a shell.
async fn try_curl_lines(home: &Home, printed: &str) {
    let lines: Vec<_> = printed.lines().filter(|line| line.contains("curl ")).collect();
    assert_eq!(lines.len(), 4, "{printed}");
    let mut output = Vec::new();
    // The third line uses the variable that the second sets.
    for script in [lines[0].to_owned(), format!("{}\nsleep 1\n{}", lines[1], lines[2]), lines[3].to_owned()] {
        let shell =
            Command::new("sh").arg("-c").arg(&script).current_dir(home.path()).stdin(Stdio::null()).output();
        output.push(String::from_utf8(shell.await.unwrap().stdout).unwrap());
    }
    for answer in &output[..2] {
        let answer: Value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["data"]["output"], json!({"message": "it's ü"}), "{answer}");
    }
    assert_whole(&events_of(&output[2]));
}

#[tokio::test]
async fn apps_are_reloaded_and_an_invalid_one_keeps_its_last_valid_version() {
    let home = Home::new();
    let server = home.start("dev").await;
    let output = async |app: &str| {
        let (status, answer) = server.create(app, &json!({"input": {"message": "hi"}})).await;
        (status, answer["data"]["output"].clone())
    };
    assert_eq!(output("echo").await, (200, json!({"message": "hi"})));

    home.app("echo", "", &ECHO.replace("{message: $.in", "{said: $.in"));
    until(async || output("echo").await == (200, json!({"said": "hi"}))).await;

    home.app("echo", "", "nodes: [");
    until(async || server.log().contains("workflow.yaml")).await;
    assert_eq!(output("echo").await, (200, json!({"said": "hi"})));

    home.app("echo", "", ECHO);
    until(async || output("echo").await == (200, json!({"message": "hi"}))).await;

    home.app("second", "", ECHO);
    until(async || output("second").await == (200, json!({"message": "hi"}))).await;
}

/// A file that crashes the process that reads it must not end the server.
#[tokio::test]
async fn a_hostile_app_is_reported_and_the_server_survives() {
    let home = Home::new();
    let server = home.start("dev").await;
    let node = |rest: &str| {
        format!(
            "nodes: {{n: {{type: dynamiq.nodes.operators.Pass, {rest}}}}}\nflows: {{f: {{nodes: [n]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
        )
    };
    for (name, text, message) in [
        (
            "path",
            node(&format!("input_transformer: {{path: '${}'}}", ".a".repeat(500_000))),
            "at most 256 steps",
        ),
        ("deep", "- ".repeat(500_000), "nest deeper"),
        (
            "aliases",
            format!("a: &a [{}]\nb: [{}]\n", "1, ".repeat(9_000), "*a, ".repeat(9_000)),
            "200000 values",
        ),
    ] {
        home.app(name, "", &text);
        until(async || server.log().contains(message)).await;
        let (status, answer) = server.create("echo", &json!({"input": {"message": "hi"}})).await;
        assert_eq!((status, &answer["data"]["output"]), (200, &json!({"message": "hi"})), "{name}");
    }
    let deep = home.apps().join("manifest");
    fs::create_dir(&deep).unwrap();
    fs::write(deep.join("app.yaml"), "- ".repeat(30_000)).unwrap();
    until(async || server.log().contains("app.yaml:1:129: values nest deeper than 64 levels")).await;
    assert_eq!(server.create("echo", &json!({"input": {"message": "hi"}})).await.0, 200);
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "the condition does not become true");
        sleep(Duration::from_millis(100)).await;
    }
}
