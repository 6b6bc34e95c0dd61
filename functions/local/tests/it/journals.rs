//! Runs that an earlier release left unfinished are resumed: runs of this release, and those in `tests/journals`.

use crate::{
    harness::{Home, PATIENCE, Server},
    kill::{approve, end, store, watch},
    outside::{AGENT, AGENT_APP, DONE, LATER, Outside},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, env, fs, path::Path, process::Command, time::Duration};
use tokio::time::{Instant, sleep};

/// The ids of the runs, by name.
type Runs = BTreeMap<String, String>;

/// Ten years: stored runs must not expire.
const RETENTION: &str = "retention_days: 3650\n";

#[tokio::test]
async fn runs_of_this_release_are_resumed() {
    let outside = Outside::start().await;
    let home = apps("");
    let runs = make(&home, &outside).await;
    if let Some(folder) = env::var_os("RUNYARD_KEEP_JOURNALS") {
        let folder = Path::new(&folder);
        fs::create_dir_all(folder.join("data")).unwrap();
        // The last process to close the database has merged the write-ahead log into it.
        fs::copy(home.data().join("runyard.db"), folder.join("data/runyard.db")).unwrap();
        fs::write(folder.join("runs.json"), serde_json::to_string_pretty(&runs).unwrap() + "\n").unwrap();
    }
    go_on(&home, &runs, Duration::ZERO).await;
}

#[tokio::test]
async fn runs_of_earlier_releases_are_resumed() {
    let releases = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/journals"));
    let mut tried = 0;
    for release in fs::read_dir(releases).unwrap().map(|entry| entry.unwrap().path()) {
        let sql = release.join("data.sql");
        if !sql.is_file() {
            continue;
        }
        let home = apps("# changed since\n");
        fs::create_dir_all(home.data()).unwrap();
        let load =
            "import sqlite3, sys; sqlite3.connect(sys.argv[2]).executescript(open(sys.argv[1]).read())";
        let database = home.data().join("runyard.db");
        let loaded = Command::new("python3").args(["-c", load]).arg(&sql).arg(&database).status();
        assert!(loaded.unwrap().success());
        let runs = fs::read_to_string(release.join("runs.json")).unwrap();
        go_on(&home, &serde_json::from_str(&runs).unwrap(), Duration::MAX).await;
        tried += 1;
    }
    assert!(tried > 0, "there are journals of a release");
}

fn apps(more: &str) -> Home {
    let home = Home::new();
    let app = format!("{AGENT_APP}{RETENTION}");
    home.app("clerk", &app, &format!("{AGENT}{more}"));
    home.app("later", &app, &format!("{LATER}{more}"));
    home
}

async fn started(home: &Home, outside: &Outside) -> Server {
    home.start_in(&[("OUTSIDE", format!("http://{}", outside.address))], "dev").await
}

async fn begin(server: &Server, app: &str) -> String {
    let body = json!({"input": {"question": "My money?"}, "background": true});
    let (status, answer) = server.create(app, &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["data"]["id"].as_str().unwrap().to_owned()
}

/// Creates runs in every state, on a server that is then killed.
async fn make(home: &Home, outside: &Outside) -> Runs {
    let server = started(home, outside).await;
    let mut runs = Runs::new();
    let completed = begin(&server, "clerk").await;
    end(&server, &completed).await;
    runs.insert("completed".to_owned(), completed);
    let paused = begin(&server, "clerk").await;
    until_asked(&server, &paused).await;
    runs.insert("paused".to_owned(), paused);
    let failed = begin(&server, "later").await;
    let ended = server.ended("later", &failed).await;
    assert_eq!(ended["error"]["node"], "second", "{ended}");
    runs.insert("failed".to_owned(), failed);
    let left = begin(&server, "clerk").await;
    let (store, _keep) = store(&home.data());
    watch(&*store, &left, 6, async || approve(&server, &left).await).await;
    server.kill().await;
    runs.insert("left".to_owned(), left);
    runs
}

async fn until_asked(server: &Server, run: &str) {
    let started = Instant::now();
    loop {
        let (_, answer) = server.get("clerk", &format!("/v1/runs/{run}")).await;
        if answer["data"]["status"] == "awaiting_input" {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{answer}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a server of this release on `home`, `after` the runs were left, and checks that nothing recorded is repeated.
async fn go_on(home: &Home, runs: &Runs, after: Duration) {
    let outside = Outside::start().await;
    outside.open();
    let server = started(home, &outside).await;
    let done = json!({"answer": DONE});

    let (output, _) = end(&server, &runs["completed"]).await;
    // The first release did not report a person's changes to the model.
    let expected =
        if after.is_zero() { done.clone() } else { json!({"answer": "Done: {\n  \"paid\": 450\n}"}) };
    assert_eq!(output, expected);

    if after.is_zero() {
        // Left in the middle: what the log has recorded is not repeated.
        let (output, _) = end(&server, &runs["left"]).await;
        assert_eq!(output, done);
        let calls = outside.take();
        assert!(calls.values().all(|calls| calls.len() == 1), "{calls:?}");
        assert!(!calls.contains_key("clerk 0"), "the log had its answer: {calls:?}");
    } else {
        // It did not wait for a person, so its time limit has passed: it ends without further calls.
        let ended = server.ended("clerk", &runs["left"]).await;
        assert_eq!(ended["error"]["code"], "timeout", "{ended}");
        server.whole_log("clerk", &runs["left"]).await;
        outside.take();
    }

    let (output, _) = end(&server, &runs["paused"]).await;
    assert_eq!(output, done);
    assert_eq!(
        outside.take().keys().collect::<Vec<_>>(),
        ["clerk 4", "pay"],
        "only the remaining steps are done"
    );

    let path = format!("/v1/runs/{}/retry", runs["failed"]);
    let answer = server.request("POST", "later", &path).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let retry: Value = answer.json().await.unwrap();
    let ended = server.ended("later", retry["data"]["id"].as_str().unwrap()).await;
    assert_eq!(ended["output"], json!({"first": "Ada", "second": "open"}), "{ended}");
    assert_eq!(outside.take().keys().collect::<Vec<_>>(), ["later"], "the results of the first run are kept");
}
