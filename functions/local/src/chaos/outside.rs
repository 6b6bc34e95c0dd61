//! The service that runs call.

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::Notify, time::sleep};

/// Counts calls by the token of each run.
pub(super) struct Outside {
    address: SocketAddr,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    /// The steps that each run called, in order.
    of_run: Mutex<HashMap<String, Vec<Step>>>,
    poisoned: Notify,
}

/// One of the two calls of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    One,
    Two,
}

impl Outside {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let calls = Arc::<Calls>::default();
        let router = Router::new().route("/call", get(call)).with_state(Arc::clone(&calls));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, calls })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the poison run calls: the server that executes it must then be killed.
    pub(super) async fn poisoned(&self) {
        self.calls.poisoned.notified().await;
    }

    /// The calls of the run with this token.
    pub(super) fn calls(&self, token: &str) -> Vec<Step> {
        self.calls.lock().get(token).cloned().unwrap_or_default()
    }
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Step>>> {
        self.of_run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn call(State(calls): State<Arc<Calls>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    let step = if text("step") == "one" { Step::One } else { Step::Two };
    calls.lock().entry(text("token").to_owned()).or_default().push(step);
    let takes = text("takes");
    if takes == "poison" {
        calls.poisoned.notify_one();
        pending::<()>().await;
    }
    sleep(Duration::from_millis(takes.parse().unwrap_or(0))).await;
    Json::<Value>(json!({ "called": text("step") })).into_response()
}
