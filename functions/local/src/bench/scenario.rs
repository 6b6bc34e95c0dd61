//! Measurements other than the table, each on its own server.

use super::{
    Plan,
    connection::Connection,
    fill::{FAILED, USERS, fill},
    load::{Request, Until, drive, on_one_thread},
    memory::{Memory, mib},
    sync,
    target::{self, Folder, Target},
};
use crate::{cli::Place, plug};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, path::Path, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpListener, time::Instant};

/// Measurements other than the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// From starting the process to the first responses
    Start,
    /// Memory after many runs
    Memory,
    /// 1,000 streams open at the same time
    Streams,
    /// Pages with a filter, by cursor
    List,
}

impl Scenario {
    /// The scenario's name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Memory => "memory",
            Self::Streams => "streams",
            Self::List => "list",
        }
    }

    /// Measures the scenario. `errors` in the result is the number of failed requests.
    pub(super) async fn measure(self, plan: &Plan) -> Result<Value> {
        match self {
            Self::Start => start(plan).await,
            Self::Memory => memory(plan).await,
            Self::Streams => streams().await,
            Self::List => list(plan).await,
        }
        .with_context(|| format!("scenario {}", self.name()))
    }
}

async fn start(plan: &Plan) -> Result<Value> {
    let folder = Folder::new()?;
    let data = folder.path().join("data");
    let stored = plan.stored.unwrap_or(100_000);
    stored_runs(plan, &data, stored).await?;
    let key = target::make_key(&plan.place.apps, &data, &plan.app).await?;
    let mut ready = Histogram::<u64>::new_with_max(super::load::LONGEST, 3)?;
    let mut first_run = Histogram::<u64>::new_with_max(super::load::LONGEST, 3)?;
    for _ in 0..5 {
        let started = Instant::now();
        let (server, address) = target::spawn(&plan.place.apps, &data, &plan.app).await?;
        let mut connection = Connection::open(address).await?;
        let request = Request::new("GET", "/readyz", &address.to_string(), &key, "", None, "");
        connection.send(&request.bytes).await?;
        ready.saturating_record(micros(started.elapsed()));
        let host = format!("{}.localhost", plan.app);
        let body = json!({ "input": plan.input() });
        let request = Request::new("POST", "/v1/runs", &host, &key, "", Some(&body), "");
        let answer = connection.send(&request.bytes).await?;
        anyhow::ensure!(answer.status == 200, "the first run was answered {}", answer.status);
        first_run.saturating_record(micros(started.elapsed()));
        stop(server).await?;
    }
    Ok(json!({
        "stored_runs": stored,
        "to_readyz_p50_ms": millis(ready.value_at_quantile(0.5)),
        "to_first_run_p50_ms": millis(first_run.value_at_quantile(0.5)),
        "to_first_run_max_ms": millis(first_run.max()),
        "errors": 0,
    }))
}

async fn memory(plan: &Plan) -> Result<Value> {
    let target = Target::of(plan).await?;
    let before = target.memory();
    let runs = plan.stored.unwrap_or(100_000);
    let figures = drive(target.address, sync(plan, &target), 16, Until::Requests(runs)).await?;
    let after = target.memory();
    target.stop().await?;
    Ok(json!({
        "runs": figures.requests,
        "before": before.map(Memory::json),
        "after": after.map(Memory::json),
        "runs_per_second": figures.per_second().round(),
        "errors": figures.errors,
    }))
}

/// Measures many open streams at the same time: of runs that wait, and of runs that have a call open to a model that
/// never answers.
async fn streams() -> Result<Value> {
    let silent = Silent::listen().await?;
    let waiting =
        held_open("nodes:\n  hold:\n    type: dynamiq.nodes.operators.Delay\n    duration_seconds: 55\n")
            .await?;
    let calling = held_open(&calls(silent.address)).await?;
    drop(silent);
    let number = |streams: &Value, name: &str| streams[name].as_u64().unwrap_or_default();
    Ok(json!({
        "open_streams": number(&waiting, "open").min(number(&calling, "open")),
        "runs_that_wait": waiting,
        "runs_that_call_a_model": calling,
        "errors": number(&waiting, "errors") + number(&calling, "errors"),
    }))
}

/// The memory of a server before and with 1,000 streams of runs of this workflow, whose only node is `hold`.
async fn held_open(workflow: &str) -> Result<Value> {
    const STREAMS: usize = 1000;
    let folder = Folder::new()?;
    let apps = folder.path().join("apps");
    write_holding_app(&apps, workflow)?;
    let data = folder.path().join("data");
    let target = Target::start(&apps, &data, "hold", Some(folder)).await?;
    let before = target.memory();
    let (address, host, key) = (target.address, target.host.clone(), target.key.clone());
    let pid_memory = target.pid();
    let (open, errors, error, held) = on_one_thread(move || async move {
        let body = json!({ "input": { "message": "hi" }, "stream": true });
        let request = Request::new("POST", "/v1/runs", &host, &key, "", Some(&body), "");
        let mut open = Vec::with_capacity(STREAMS);
        let mut errors = 0_u64;
        let mut error = None;
        for _ in 0..STREAMS {
            let mut connection = Connection::open(address).await?;
            match connection.open_stream(&request.bytes).await {
                Ok(()) => open.push(connection),
                Err(why) => {
                    errors += 1;
                    error.get_or_insert_with(|| format!("{why:#}"));
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok((open.len(), errors, error, pid_memory.map(Memory::of)))
    })
    .await?;
    target.stop().await?;
    Ok(json!({
        "open": open,
        "before": before.map(Memory::json),
        "with_streams": held.map(Memory::json),
        "errors": errors,
        "error": error,
    }))
}

async fn list(plan: &Plan) -> Result<Value> {
    const PAGES: usize = 200;
    let folder = Folder::new()?;
    let data = folder.path().join("data");
    let stored = plan.stored.unwrap_or(1_000_000);
    stored_runs(plan, &data, stored).await?;
    let target = Target::start(&plan.place.apps, &data, &plan.app, Some(folder)).await?;
    let mut measured = json!({ "stored_runs": stored });
    let filters = [
        ("none", String::new()),
        ("status_failed", "&status=failed".into()),
        ("status_completed", "&status=completed".into()),
        ("user", format!("&user_id=user-{}", USERS / 2)),
    ];
    let mut errors = 0_u64;
    for (name, filter) in filters {
        let mut connection = Connection::open(target.address).await?;
        let mut latency = Histogram::<u64>::new_with_max(super::load::LONGEST, 3)?;
        let (mut cursor, mut total) = (String::new(), Value::Null);
        for _ in 0..PAGES {
            let path = format!("/v1/runs?page_size=25{filter}{cursor}");
            let request = Request::new("GET", &path, &target.host, &target.key, "", None, "");
            let started = Instant::now();
            let answer = connection.send(&request.bytes).await?;
            latency.saturating_record(micros(started.elapsed()));
            errors += u64::from(answer.status != 200);
            let page = answer.json()?;
            total = page["pagination"]["total_count"].clone();
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        measured[name] = json!({
            "pages": latency.len(),
            "total_count": total,
            "p50_ms": millis(latency.value_at_quantile(0.5)),
            "p99_ms": millis(latency.value_at_quantile(0.99)),
            "max_ms": millis(latency.max()),
        });
    }
    measured["failed_runs"] = stored.div_ceil(FAILED).into();
    measured["memory"] = target.memory().map(|memory| mib(memory.pss)).into();
    measured["errors"] = errors.into();
    target.stop().await?;
    Ok(measured)
}

async fn stored_runs(plan: &Plan, data: &Path, count: u64) -> Result<()> {
    let place = Place { apps: plan.place.apps.clone(), data: data.to_owned(), default_app: None };
    let (data, app) = plug::data_and_app(&place, &plan.app).await?;
    fill(&data, &app, count).await
}

async fn stop(mut server: tokio::process::Child) -> Result<()> {
    if let Some(pid) = server.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    server.wait().await?;
    Ok(())
}

/// A server that accepts connections and never responds.
struct Silent {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Silent {
    async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut sink = [0; 1024];
                    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A workflow whose node `hold` calls a model at this address.
fn calls(model: SocketAddr) -> String {
    format!(
        "connections:\n  silent:\n    type: dynamiq.connections.OpenAI\n    api_key: none\n    url: http://{model}/v1\n\
         nodes:\n  hold:\n    type: dynamiq.nodes.llms.OpenAI\n    connection: silent\n    model: gpt-4o-mini\n    \
         prompt:\n      messages:\n        - role: user\n          content: \"{{{{ message }}}}\"\n"
    )
}

/// Writes an app whose workflow has the node `hold`.
fn write_holding_app(apps: &Path, workflow: &str) -> Result<()> {
    let folder = apps.join("hold");
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("app.yaml"),
        "id: 5b0c5f2e-6a51-4a43-9c39-0d4d6f6c8a01\n\
         project: 5b0c5f2e-6a51-4a43-9c39-0d4d6f6c8a02\n\
         organization: 5b0c5f2e-6a51-4a43-9c39-0d4d6f6c8a03\n\
         name: hold\n\
         workflow:\n  file: workflow.yaml\n\
         limits:\n  concurrent_runs: 2000\n\
         allow_hosts: [127.0.0.1]\n",
    )?;
    fs::write(
        folder.join("workflow.yaml"),
        format!("{workflow}flows:\n  flow:\n    nodes: [hold]\nworkflows:\n  hold:\n    flow: flow\n"),
    )?;
    Ok(())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Converts microseconds to milliseconds, with two decimals.
#[expect(clippy::cast_precision_loss, reason = "no latency here comes near 2^52 µs")]
fn millis(micros: u64) -> f64 {
    (micros as f64 / 10.0).round() / 100.0
}
