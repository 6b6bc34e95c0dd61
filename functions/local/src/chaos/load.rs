//! Clients that create runs at a steady pace, and how each run ended.

use super::server::Server;
use crate::bench::Connection;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// Pause between two requests of a client: the load is steady, not maximal.
const REQUEST_INTERVAL: Duration = Duration::from_millis(40);

/// Pause between two polls of a run that has not ended, and between two attempts to reach the server.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Number of clients that poll runs at the end.
const POLLERS: usize = 8;

/// The load, and the state of its runs.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Mutex<Vec<JoinHandle<()>>>,
    stop: CancellationToken,
}

struct Shared {
    server: Arc<Server>,
    key: String,
    numbers: AtomicU64,
    runs: Mutex<HashMap<String, Followed>>,
    within: Mutex<Histogram<u64>>,
    /// Errors of the server: a refusal that no kill explains, a second run for a key.
    problems: Mutex<Vec<String>>,
}

/// A run that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) id: String,
    pub(super) poison: bool,
    /// Once it has ended: its status, its error code, and when that was seen.
    pub(super) ended: Option<(String, Option<String>, Instant)>,
}

/// What a run of the load does.
#[derive(Clone, Copy)]
struct Kind {
    background: bool,
    /// How long each of its calls takes, in milliseconds.
    calls: [u64; 2],
    /// How long it waits between the calls, in milliseconds.
    pause: u64,
}

/// Used in turn: mostly short runs, some that wait, some whose calls take longer than the server lives.
const KINDS: [Kind; 20] = {
    let sync = Kind { background: false, calls: [5, 5], pause: 0 };
    let short = Kind { background: true, calls: [5, 5], pause: 0 };
    let waits = Kind { background: true, calls: [5, 5], pause: 1_500 };
    let slow = Kind { background: true, calls: [5, 3_000], pause: 0 };
    let slower = Kind { background: false, calls: [400, 400], pause: 50 };
    [
        sync, short, sync, short, waits, sync, short, sync, short, slower, sync, short, sync, short, waits,
        sync, short, sync, short, slow,
    ]
};

impl Load {
    /// Starts this number of clients.
    pub(super) fn start(server: Arc<Server>, key: String, clients: usize) -> Self {
        let shared = Arc::new(Shared {
            server,
            key,
            numbers: AtomicU64::new(0),
            runs: Mutex::default(),
            within: Mutex::new(
                Histogram::new_with_bounds(1, 600_000, 3)
                    .unwrap_or_else(|_| unreachable!("these bounds are valid")),
            ),
            problems: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let clients = (0..clients).map(|_| tokio::spawn(client(Arc::clone(&shared), stop.clone()))).collect();
        Self { shared, clients: Mutex::new(clients), stop }
    }

    /// Creates the run that kills the server whenever it is executed.
    pub(super) async fn create_poison(&self) -> Result<()> {
        let body = body("poison", &["poison".into(), "0".into()], 0, true);
        let (status, answer) =
            self.shared.request("POST", "/v1/runs", "idempotency-key: poison\r\n", Some(&body)).await?;
        let id = answer["data"]["id"]
            .as_str()
            .with_context(|| format!("the server answered {status}: {answer}"))?;
        lock(&self.shared.runs)
            .insert("poison".to_owned(), Followed { id: id.to_owned(), poison: true, ended: None });
        Ok(())
    }

    /// Stops creating runs.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every run has ended.
    pub(super) async fn settled(&self) {
        let clients = std::mem::take(&mut *lock(&self.clients));
        for client in clients {
            let _ = client.await;
        }
        let mut open: Vec<Vec<(String, String)>> = vec![Vec::new(); POLLERS];
        for (index, (token, run)) in lock(&self.shared.runs).iter().enumerate() {
            if run.ended.is_none() {
                open[index % POLLERS].push((token.clone(), run.id.clone()));
            }
        }
        let polls = open.into_iter().map(|runs| {
            let shared = Arc::clone(&self.shared);
            async move {
                for (token, id) in runs {
                    shared.follow(&token, &id).await;
                }
            }
        });
        futures::future::join_all(polls).await;
    }

    /// The accepted runs, by token.
    pub(super) fn runs(&self) -> HashMap<String, Followed> {
        lock(&self.shared.runs).clone()
    }

    /// How long callers of sync runs that no kill interrupted waited, minus the time the run itself takes, in
    /// milliseconds.
    pub(super) fn within(&self) -> Histogram<u64> {
        lock(&self.shared.within).clone()
    }

    pub(super) fn problems(&self) -> Vec<String> {
        lock(&self.shared.problems).clone()
    }

    /// Returns how many workers had the run.
    pub(super) async fn claims(&self, id: &str) -> Result<usize> {
        let (status, answer) =
            self.shared.request("GET", &format!("/v1/runs/{id}/events?page_size=100"), "", None).await?;
        let events =
            answer["data"].as_array().with_context(|| format!("the server answered {status}: {answer}"))?;
        let claims = ["run.started", "run.resumed"];
        Ok(events
            .iter()
            .filter(|event| event["type"].as_str().is_some_and(|name| claims.contains(&name)))
            .count())
    }
}

async fn client(shared: Arc<Shared>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        let kind = KINDS[usize::try_from(number).unwrap_or(0) % KINDS.len()];
        let token = format!("run-{number}");
        shared.create(&token, kind).await;
        sleep(REQUEST_INTERVAL).await;
    }
}

fn body(token: &str, takes: &[String; 2], pause: u64, background: bool) -> Value {
    let call = |step: &str, takes: &str| json!({ "token": token, "step": step, "takes": takes });
    // Converts milliseconds to seconds without rounding.
    let pause: Value =
        serde_json::from_str(&format!("{}.{:03}", pause / 1000, pause % 1000)).unwrap_or(0.into());
    let mut body = json!({
        "input": { "one_params": call("one", &takes[0]), "two_params": call("two", &takes[1]), "pause": pause },
    });
    if background {
        body["background"] = true.into();
    }
    body
}

impl Shared {
    /// Creates a run, with as many requests as needed, all with the same idempotency key.
    async fn create(&self, token: &str, kind: Kind) {
        let body = body(token, &kind.calls.map(|takes| takes.to_string()), kind.pause, kind.background);
        let key = format!("idempotency-key: {token}\r\n");
        let mut is_first = true;
        loop {
            let first = std::mem::take(&mut is_first);
            let (kills, started) = (self.server.kills(), Instant::now());
            let answer = self.request("POST", "/v1/runs", &key, Some(&body)).await;
            let took = started.elapsed();
            let Ok((status, answer)) = answer else {
                sleep(RETRY_INTERVAL).await;
                continue;
            };
            if matches!(status, 429 | 503) {
                sleep(RETRY_INTERVAL).await;
                continue;
            }
            let Some(id) = answer["data"]["id"].as_str() else {
                self.problem(format!("{token}: the server answered {status}: {answer}"));
                return;
            };
            let run = Followed { id: id.to_owned(), poison: false, ended: ended(&answer["data"]) };
            // A repeated request may wait for a run that has lost its worker.
            if first && !kind.background && kills == self.server.kills() && run.ended.is_some() {
                let own = kind.calls.iter().sum::<u64>() + kind.pause;
                let beyond = took.saturating_sub(Duration::from_millis(own));
                lock(&self.within).saturating_record(u64::try_from(beyond.as_millis()).unwrap_or(u64::MAX));
            }
            lock(&self.runs).insert(token.to_owned(), run);
            // The same key must return the same run.
            if let Ok((_, again)) = self.request("POST", "/v1/runs", &key, Some(&body)).await
                && let Some(other) = again["data"]["id"].as_str()
                && other != id
            {
                self.problem(format!("{token}: the runs {id} and {other} for one key"));
            }
            return;
        }
    }

    /// Polls a run until it has ended.
    async fn follow(&self, token: &str, id: &str) {
        loop {
            if let Ok((status, answer)) = self.request("GET", &format!("/v1/runs/{id}"), "", None).await {
                if status == 404 {
                    self.problem(format!("{token}: the run {id} is gone"));
                    return;
                }
                if let Some(ended) = ended(&answer["data"]) {
                    if let Some(run) = lock(&self.runs).get_mut(token) {
                        run.ended = Some(ended);
                    }
                    return;
                }
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    fn problem(&self, text: String) {
        lock(&self.problems).push(text);
    }

    /// Sends one request on a new connection: the server may be restarted before the next.
    async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let address = self.server.address();
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}.localhost:{}\r\nauthorization: Bearer {}\r\n{headers}\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            super::APP,
            address.port(),
            self.key,
            body.len(),
        );
        let mut connection = Connection::open(address).await?;
        let answer = connection.send(request.as_bytes()).await?;
        if answer.status >= 500 && answer.status != 503 {
            bail!("the server answered {}", answer.status);
        }
        let status = answer.status;
        Ok((status, answer.json()?))
    }
}

/// Returns how the run ended, if it has.
fn ended(run: &Value) -> Option<(String, Option<String>, Instant)> {
    let status = run["status"].as_str()?;
    let code = run["error"]["code"].as_str().map(str::to_owned);
    matches!(status, "completed" | "failed" | "canceled").then(|| (status.to_owned(), code, Instant::now()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
