//! `kill -9` at different times: every accepted run ends, with a complete log.

use crate::harness::{Home, Llm, PATIENCE};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn every_accepted_run_ends_whenever_the_server_is_killed() {
    let llm = Llm::start(Duration::from_millis(60)).await;
    let home = Home::new();
    home.llm_app("ask", llm.address);
    let mut accepted = BTreeSet::new();
    for millis in [20, 90, 160, 260, 400, 700] {
        let server = Arc::new(home.start("serve").await);
        let requests: Vec<_> = (0..24)
            .map(|number| {
                let server = Arc::clone(&server);
                tokio::spawn(async move { create(&server, number).await })
            })
            .collect();
        sleep(Duration::from_millis(millis)).await;
        server.signal(rustix::process::Signal::KILL);
        for request in requests {
            accepted.extend(request.await.unwrap());
        }
        Arc::into_inner(server).unwrap().kill().await;
    }
    let server = home.start("serve").await;
    let restarted = Instant::now();
    // Every acknowledged run is stored; a run that was accepted but not acknowledged may be stored too.
    let stored = all_runs(&server, &["ask", "echo"]).await;
    let known: BTreeSet<_> = stored.iter().map(|(_, run)| run["id"].as_str().unwrap().to_owned()).collect();
    assert!(accepted.len() > 20, "the test must have accepted runs: {}", accepted.len());
    assert_eq!(accepted.difference(&known).count(), 0, "an accepted run is gone");
    for (app, run) in stored {
        let id = run["id"].as_str().unwrap();
        let ended = server.ended(app, id).await;
        // A run that was taken over too often without progress may fail; none may be lost.
        assert!(ended["status"] == "completed" || ended["error"]["code"] == "worker_lost", "{ended}");
        server.whole_log(app, id).await;
    }
    assert!(restarted.elapsed() < PATIENCE);
}

/// Creates a run in one of the modes; returns its id if the server acknowledged it.
async fn create(server: &crate::harness::Server, number: usize) -> Option<String> {
    let (app, mut body) = match number % 4 {
        3 => ("echo", json!({"input": {"message": "hi"}})),
        _ => ("ask", json!({"input": {"q": "why?"}})),
    };
    match number % 3 {
        0 => body["background"] = true.into(),
        1 => body["stream"] = true.into(),
        _ => {}
    }
    let mut response = server.request("POST", app, "/v1/runs").json(&body).send().await.ok()?;
    let mut text = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        text.extend_from_slice(&piece);
    }
    // An id in a cut stream is an acknowledgement, as one in a complete response is.
    let text = String::from_utf8_lossy(&text).into_owned();
    let first = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    let answer: Value = serde_json::from_str(first).ok()?;
    let data = &answer["data"];
    assert!(data["id"].is_string(), "{answer}");
    Some(data["id"].as_str()?.to_owned())
}

async fn all_runs(server: &crate::harness::Server, apps: &[&'static str]) -> Vec<(&'static str, Value)> {
    let mut runs = Vec::new();
    for app in apps {
        let mut cursor = String::new();
        loop {
            let (status, page) = server.get(app, &format!("/v1/runs?page_size=100{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            runs.extend(page["data"].as_array().unwrap().iter().map(|run| (*app, run.clone())));
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    runs
}

#[tokio::test]
async fn runs_resume_at_once_after_a_restart() {
    let llm = Llm::start(Duration::from_millis(300)).await;
    let home = Home::new();
    home.llm_app("ask", llm.address);
    let server = home.start("serve").await;
    let (status, answer) = server.create("ask", &json!({"input": {"q": "?"}, "background": true})).await;
    assert_eq!(status, 202);
    let id = answer["data"]["id"].as_str().unwrap().to_owned();
    sleep(Duration::from_millis(400)).await;
    server.kill().await;
    let server = home.start("serve").await;
    let started = Instant::now();
    let ended = server.ended("ask", &id).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    // If lost workers were not detected, it would take the 60 s of a lease.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let events = server.whole_log("ask", &id).await;
    assert!(events.iter().any(|event| event["type"] == "run.resumed"), "{events:?}");
}
