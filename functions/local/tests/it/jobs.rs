//! Hostile files: the process that converts them can be killed, and the server survives.

use crate::harness::{Home, PATIENCE, Server};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::time::{Instant, sleep};

/// A workflow of one node of this type.
fn alone(class: &str) -> String {
    format!(
        "nodes:\n  it: {{type: dynamiq.nodes.{class}}}\nflows: {{f: {{nodes: [it]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
    )
}

/// Counts the server's job processes.
fn jobs(server: &Server) -> usize {
    let parent = server.child.id().unwrap().to_string();
    let is_job = |path: std::path::PathBuf| {
        let command = fs::read_to_string(path.join("cmdline")).ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
        Some(rest.next()? != "Z" && rest.next()? == parent && command.contains("__job"))
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| is_job(entry.ok()?.path())).filter(|it| *it).count()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// An input that takes the parser practically forever: it compares each attribute with all earlier ones.
fn endless() -> Value {
    let attributes: String = (0..300_000).flat_map(|number| [" a".to_owned(), number.to_string()]).collect();
    json!({"files": [{"name": "a.html", "content": format!("<p{attributes}>")}]})
}

#[tokio::test]
async fn a_converter_stops_when_its_run_is_canceled() {
    let home = Home::new();
    home.app("html", "", &alone("converters.HTMLConverter"));
    let server = home.start("serve").await;
    let (status, answer) = server.create("html", &json!({"input": endless(), "background": true})).await;
    assert_eq!(status, 202, "{answer}");
    let run = answer["data"]["id"].as_str().unwrap();
    until("a job starts", || jobs(&server) == 1).await;
    let cancel = server.request("POST", "html", &format!("/v1/runs/{run}/cancel")).send().await.unwrap();
    assert_eq!(cancel.status(), 200);
    until("the job is gone", || jobs(&server) == 0).await;
}

#[tokio::test]
async fn a_converter_stops_at_its_run_s_timeout() {
    let home = Home::new();
    home.app("html", "limits: {run_seconds: 2}\n", &alone("converters.HTMLConverter"));
    let server = home.start("serve").await;
    let (_, answer) = server.create("html", &json!({"input": endless()})).await;
    assert_eq!(answer["data"]["error"]["code"], "timeout", "{answer}");
    until("the job is gone", || jobs(&server) == 0).await;
}

#[tokio::test]
async fn the_output_of_a_converter_has_a_limit() {
    let home = Home::new();
    home.app("csv", "", &alone("converters.CSVConverter"));
    home.app("html", "", &alone("converters.HTMLConverter"));
    home.app("split", "", &alone("splitters.DocumentSplitter"));
    home.app("list", "", &alone("transformers.CSVToList"));
    let server = home.start("serve").await;
    let file = |name: &str, content: String| json!({"files": [{"name": name, "content": content}]});
    let metadata = json!({"note": "x".repeat(100_000)});
    let columns: String =
        (0..2_000).flat_map(|number| ["a".to_owned(), number.to_string(), ",".to_owned()]).collect();
    let cases = [
        ("csv", file("a.csv", format!("a,b\n{}", "1,2\n".repeat(400_000)))),
        // A column name of 100 KB is repeated for each of 100,000 cells.
        ("csv", file("a.csv", format!("{}\n{}", "x".repeat(100_000), "1\n".repeat(100_000)))),
        ("html", file("a.html", "<div>".repeat(500_000))),
        ("split", json!({"documents": [{"content": "x\n\n".repeat(100_000), "metadata": metadata}]})),
        ("list", json!({"value": format!("{columns}\n{}", "1\n".repeat(100_000))})),
    ];
    for (index, (app, input)) in cases.into_iter().enumerate() {
        let (_, answer) = server.create(app, &json!({"input": input})).await;
        assert_eq!(answer["data"]["error"]["code"], "limit_exceeded", "{index} {app}: {answer}");
    }
    let (_, answer) = server.create("csv", &json!({"input": file("a.csv", "a,b\n1,2\n".into())})).await;
    assert_eq!(answer["data"]["status"], "completed", "{answer}");
    assert_eq!(jobs(&server), 0);
}
