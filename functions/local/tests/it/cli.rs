//! Outputs and exit codes of the commands, on a data directory and on a server.

use crate::harness::{ECHO, Home, Llm};
use serde_json::{Value, json};
use std::{fs, time::Duration};

#[tokio::test]
async fn run_and_runs_work_alike_on_a_data_directory_and_on_a_server() {
    let home = Home::new();
    let broken = ECHO
        .replace("dynamiq.nodes.utils.Output", "dynamiq.nodes.tools.Python")
        .replace("name: Out,", "name: Out, code: \"def run(input_data):\\n    return input_data['nope']\",");
    home.app("broken", "", &broken);
    let server = home.start("dev").await;
    let (url, key) = (server.url(), server.key.clone());
    for remote in [false, true] {
        let run = async |arguments: &[&str]| {
            let mut all = arguments.to_vec();
            if remote {
                all.extend(["--url", &url, "--key", &key]);
            }
            home.run(&all).await
        };
        let done =
            run(&["run", "echo", "--input", "{\"message\": \"hi\"}", "--metadata", "a=b", "--user-id", "u"])
                .await;
        assert_eq!(done.code, 0, "{}", done.err);
        let echo = done.json();
        assert_eq!(echo["output"], json!({"message": "hi"}));
        assert_eq!((&echo["metadata"], &echo["user_id"]), (&json!({"a": "b"}), &json!("u")));
        let id = echo["id"].as_str().unwrap();

        let done = run(&["run", "echo", "--input", "{\"message\": \"hi\"}", "--stream", "--json"]).await;
        assert_eq!(done.code, 0, "{}", done.err);
        let events: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        crate::harness::assert_whole(&events);

        let done = run(&["run", "broken", "--input", "{\"message\": \"hi\"}", "--json"]).await;
        assert_eq!(done.code, 1, "{}", done.err);
        assert_eq!(done.json()["status"], "failed");

        let done = run(&["run", "echo", "--input", "{\"message\": 7}"]).await;
        assert_eq!(done.code, 3, "{}", done.err);
        assert!(done.err.contains("message"), "{}", done.err);

        let done = run(&["runs", "get", id, "--app", "echo", "--json"]).await;
        assert_eq!((done.code, done.json()), (0, echo.clone()));
        let done = run(&["runs", "list", "--app", "echo", "--user-id", "u", "--json"]).await;
        let listed = done.json();
        assert_eq!(listed["data"][0]["id"], echo["id"], "{listed}");
        let done = run(&["runs", "events", id, "--app", "echo", "--json"]).await;
        let events: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        crate::harness::assert_whole(&events);
        let done = run(&["runs", "tail", id, "--app", "echo", "--json"]).await;
        assert_eq!((done.code, done.out.lines().count()), (0, events.len()), "{}", done.err);
        let done = run(&["runs", "cancel", id, "--app", "echo"]).await;
        assert_eq!((done.code, done.out.trim()), (0, "canceled"), "{}", done.err);
        let done = run(&["runs", "get", "018f3a3e-0000-7000-8000-000000000000", "--app", "echo"]).await;
        assert_eq!(done.code, 3, "{}", done.err);

        let file = home.path().join("note.txt");
        fs::write(&file, "a note").unwrap();
        let file = file.to_str().unwrap();
        let done = run(&["files", "upload", file, "--app", "echo", "--json"]).await;
        let uploaded = done.json();
        assert_eq!((&uploaded["name"], &uploaded["size"]), (&json!("note.txt"), &json!(6)), "{uploaded}");
        let done = run(&["run", "echo", "--input", "{\"message\": \"hi\"}", "--file", file, "--json"]).await;
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(done.json()["files"][0]["name"], "note.txt");
    }
    // On a data directory, the app of a run is found automatically.
    let done = home.run(&["run", "broken", "--input", "{\"message\": \"hi\"}", "--json"]).await;
    let id = done.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(home.run(&["runs", "get", &id]).await.json()["status"], "failed");
    assert_eq!(home.run(&["runs", "tail", &id]).await.code, 1);
}

#[tokio::test]
async fn a_background_run_is_executed_by_a_server_on_the_same_data() {
    let home = Home::new();
    let done = home.run(&["run", "echo", "--input", "{\"message\": \"hi\"}", "--background", "--json"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.json()["status"], "created");
    let id = done.json()["id"].as_str().unwrap().to_owned();
    let server = home.start("serve").await;
    assert_eq!(server.ended("echo", &id).await["status"], "completed");
}

#[tokio::test]
async fn tail_reconnects_after_a_restart_of_the_server() {
    let llm = Llm::start(Duration::from_millis(500)).await;
    let home = Home::new();
    home.llm_app("ask", llm.address);
    let server = home.start("serve").await;
    let (_, answer) = server.create("ask", &json!({"input": {"q": "?"}, "background": true})).await;
    let id = answer["data"]["id"].as_str().unwrap();
    let (url, key, address) = (server.url(), server.key.clone(), server.address.to_string());
    let tail =
        home.command(&["runs", "tail", id, "--app", "ask", "--json", "--url", &url, "--key", &key]).output();
    let tail = tokio::spawn(tail);
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.kill().await;
    let server = home.start_on(&address, "serve", &[]).await;
    let output = tokio::time::timeout(crate::harness::PATIENCE, tail).await.unwrap().unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    crate::harness::assert_whole(&events);
    assert_eq!(events, server.whole_log("ask", id).await);
}

#[tokio::test]
async fn keys_open_the_apps_of_their_organization_until_they_are_revoked() {
    let home = Home::new();
    let server = home.start("serve").await;
    let other = "0f6a7c0e-53a2-4f3c-9c8e-1d2f3a4b5c99";
    let made = home.run(&["keys", "create", "--org", other, "--expires", "90d", "--json"]).await;
    assert_eq!(made.code, 0, "{}", made.err);
    let made = made.json();
    let status = async |key: &str| {
        let request = server.request_with(key, "echo.localhost", "GET", "/v1/runs");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(made["key"].as_str().unwrap()).await, 403);
    // `--org` may be omitted if all apps belong to one organization.
    let own = home.run(&["keys", "create"]).await;
    assert_eq!(own.code, 0, "{}", own.err);
    let own = own.out.trim().to_owned();
    assert_eq!(status(&own).await, 200);
    let listed = home.run(&["keys", "list", "--json"]).await;
    assert_eq!(listed.out.lines().count(), 3, "{}", listed.out);
    assert!(!listed.out.contains(own.rsplit('_').next().unwrap()));
    assert_eq!(home.run(&["keys", "revoke", &own]).await.code, 0);
    assert_eq!(home.run(&["keys", "revoke", "0000000000000000"]).await.code, 2);
    let listed = home.run(&["keys", "list", "--json"]).await;
    assert_eq!(listed.out.matches("revoked\"").count(), 1, "{}", listed.out);
}

#[tokio::test]
async fn shipped_apps_have_no_warnings() {
    let home = Home::new();
    let apps = concat!(env!("CARGO_MANIFEST_DIR"), "/../../apps");
    for entry in fs::read_dir(apps).unwrap() {
        let folder = entry.unwrap().path();
        let done = home.run(&["apps", "check", folder.to_str().unwrap()]).await;
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert_eq!((done.code, done.out.trim()), (0, format!("ok     {name}").as_str()), "{}", done.err);
    }
}

#[tokio::test]
async fn apps_are_listed_shown_and_checked() {
    let home = Home::new();
    let done = home.run(&["apps", "check"]).await;
    assert_eq!((done.code, done.out.trim()), (0, "ok     echo"), "{}", done.err);
    // A warning does not keep an app from being served.
    home.app("odd", "", &format!("colours: [red]\n{ECHO}"));
    let done = home.run(&["apps", "check", "odd"]).await;
    let warning = "workflow.yaml:1:1: nothing reads `colours` here, so it has no effect";
    assert_eq!((done.code, done.out.trim()), (0, format!("ok     odd\n       warning: {warning}").as_str()));
    let done = home.run(&["apps", "check", "odd", "--json"]).await.json();
    let expected = json!({"file": "workflow.yaml", "line": 1, "column": 1, "message": warning.rsplit_once(": ").unwrap().1});
    assert_eq!((&done["ok"], &done["warnings"]), (&json!(true), &json!([expected])));
    home.app("wrong", "", &ECHO.replace("dynamiq.nodes.utils.Output", "no.such.Node"));
    let done = home.run(&["apps", "check"]).await;
    assert_eq!(done.code, 1, "{}", done.out);
    assert!(done.out.contains("error  wrong") && done.out.contains("no.such.Node"), "{}", done.out);
    assert_eq!(home.run(&["apps", "check", "echo"]).await.code, 0);
    let folder = home.apps().join("wrong");
    assert_eq!(home.run(&["apps", "check", folder.to_str().unwrap()]).await.code, 1);
    assert_eq!(home.run(&["apps", "check", "nobody"]).await.code, 2);
    let shown = home.run(&["apps", "show", "echo", "--json"]).await.json();
    assert_eq!((&shown["name"], &shown["retention_days"]), (&json!("echo"), &json!(30)));
    assert_eq!(home.run(&["apps", "show", "nobody"]).await.code, 2);
    // `serve` does not start if an app has an error.
    let done = home.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(done.code, 4, "{} {}", done.out, done.err);
}

#[tokio::test]
async fn invalid_usage_exits_2_and_an_unreachable_server_4() {
    let home = Home::new();
    for arguments in [
        &["run", "echo", "--input", "no json"][..],
        &["run", "echo", "--input", "[1]"],
        &["run", "echo", "--input", "@nowhere.json"],
        &["run", "nobody", "--input", "{}"],
        &["run", "echo", "--background", "--stream"],
        &["run", "echo", "--input", "{}", "--file", "nowhere.pdf"],
        &["frobnicate"],
        &["runs", "get", "not-a-uuid"],
    ] {
        let done = home.run(arguments).await;
        assert_eq!(done.code, 2, "{arguments:?}: {} {}", done.out, done.err);
        assert!(!done.err.is_empty(), "{arguments:?}");
    }
    // No server listens on port 1.
    let done = home.run(&["runs", "list", "--url", "http://127.0.0.1:1", "--key", "x"]).await;
    assert_eq!(done.code, 4, "{}", done.err);
    assert!(done.err.contains("127.0.0.1:1"), "{}", done.err);
}

#[tokio::test]
async fn openapi_is_printed_and_checked() {
    let home = Home::new();
    let printed = home.run(&["openapi"]).await;
    assert_eq!(printed.code, 0);
    assert_eq!(printed.json()["openapi"], "3.1.0");
    let file = home.path().join("openapi.json");
    let name = file.to_str().unwrap();
    fs::write(&file, &printed.out).unwrap();
    assert_eq!(home.run(&["openapi", "--check", name]).await.code, 0);
    fs::write(&file, printed.out.replacen("3.1.0", "3.0.0", 1)).unwrap();
    let done = home.run(&["openapi", "--check", name]).await;
    assert_eq!(done.code, 1);
    assert!(done.err.contains("line 2"), "{}", done.err);
}

#[tokio::test]
async fn help_has_groups_exit_codes_and_examples() {
    let home = Home::new();
    let help = home.run(&["--help"]).await;
    assert_eq!(help.code, 0);
    for part in ["Serve:", "Call:", "Exit codes:", "runyard run ticket-triage"] {
        assert!(help.out.contains(part), "{part}: {}", help.out);
    }
}
