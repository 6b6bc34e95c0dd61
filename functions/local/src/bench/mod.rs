//! Measuring a server over HTTP.

mod connection;
mod fill;
mod load;
mod memory;
mod scenario;
mod target;

pub(crate) use connection::Connection;
pub(crate) use load::Until;
pub(crate) use scenario::Scenario;
pub(crate) use target::{Folder, make_key, spawn};

use crate::cli::{Place, json_line, table_of};
use anyhow::Result;
use load::{Figures, Request, drive};
use memory::{Memory, mib};
use serde_json::{Map, Value, json};
use std::{path::PathBuf, time::Duration};
use target::Target;

/// What to measure.
pub(crate) struct Plan {
    /// The folders of the server to start.
    pub(crate) place: Place,
    pub(crate) app: String,
    pub(crate) input: Option<Map<String, Value>>,
    pub(crate) connections: Vec<usize>,
    pub(crate) until: Until,
    pub(crate) stored: Option<u64>,
    /// The server, if it runs already.
    pub(crate) server: Option<Given>,
    pub(crate) json: bool,
}

/// A server that runs already.
pub(crate) struct Given {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) pid: Option<u32>,
}

impl Plan {
    /// The input of each run.
    fn input(&self) -> Value {
        if let Some(input) = &self.input {
            return input.clone().into();
        }
        let sample: PathBuf = self.place.apps.join(&self.app).join("sample-input.json");
        let sample = std::fs::read_to_string(sample).ok();
        sample.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| json!({ "message": "hi" }))
    }
}

/// Warms a server up, then measures each mode at each number of connections. Returns whether there were no errors.
pub(crate) async fn table(plan: &Plan) -> Result<bool> {
    let target = Target::of(plan).await?;
    let mut rows = Vec::new();
    let mut figures_json = Vec::new();
    let mut succeeded = true;
    let idle = target.memory();
    drive(target.address, sync(plan, &target), 1, Until::Time(Duration::from_secs(1))).await?;
    for (mode, request) in modes(plan, &target) {
        for connections in &plan.connections {
            let figures = drive(target.address, request.clone(), *connections, plan.until).await?;
            let memory = target.memory();
            succeeded &= figures.errors == 0 && figures.requests > 0;
            rows.push(row(mode, &figures, memory));
            let mut line = json!({ "mode": mode, "memory": memory.map(Memory::json) });
            if let (Value::Object(line), Value::Object(figures)) = (&mut line, figures.json()) {
                line.extend(figures);
            }
            figures_json.push(line);
        }
    }
    target.stop().await?;
    if plan.json {
        json_line(&json!({
            "app": plan.app,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "idle_memory": idle.map(Memory::json),
            "rows": figures_json,
        }))?;
    } else {
        table_of(
            &["MODE", "CONNECTIONS", "RUNS", "P50 ms", "P99 ms", "RUNS/s", "ERRORS", "RSS MiB", "PSS MiB"],
            &rows,
        )?;
        if let Some(idle) = idle {
            anstream::eprintln!("memory before the first run: {} MiB", mib(idle.pss));
        }
    }
    Ok(succeeded)
}

/// Measures each scenario. Returns whether there were no errors.
pub(crate) async fn scenarios(plan: &Plan, scenarios: &[Scenario]) -> Result<bool> {
    let mut all = Map::new();
    let mut succeeded = true;
    for scenario in scenarios {
        let measured = scenario.measure(plan).await?;
        succeeded &= measured["errors"].as_u64().unwrap_or(0) == 0;
        all.insert(scenario.name().to_owned(), measured);
    }
    if plan.json {
        json_line(&all.into())?;
        return Ok(succeeded);
    }
    let mut rows = Vec::new();
    for (name, measured) in &all {
        for (what, value) in measured.as_object().into_iter().flatten() {
            rows.push(vec![name.clone(), what.replace('_', " "), value.to_string()]);
        }
    }
    table_of(&["SCENARIO", "FIGURE", "VALUE"], &rows)?;
    Ok(succeeded)
}

fn modes(plan: &Plan, target: &Target) -> [(&'static str, Request); 3] {
    let (host, key) = (&target.host, &target.key);
    let background = json!({ "input": plan.input(), "background": true });
    let stream = json!({ "input": plan.input(), "stream": true });
    let path = "/v1/runs";
    let completed = "\"status\":\"completed\"";
    let streamed = Request::new("POST", path, host, key, "", Some(&stream), "run.completed");
    [
        ("sync", sync(plan, target)),
        (
            "background",
            Request::new("POST", path, host, key, "prefer: wait=20\r\n", Some(&background), completed),
        ),
        ("stream", Request { first_event: true, ..streamed }),
    ]
}

fn sync(plan: &Plan, target: &Target) -> Request {
    let body = json!({ "input": plan.input() });
    let completed = "\"status\":\"completed\"";
    Request::new("POST", "/v1/runs", &target.host, &target.key, "", Some(&body), completed)
}

fn row(mode: &str, figures: &Figures, memory: Option<Memory>) -> Vec<String> {
    let errors = match &figures.error {
        Some(error) => format!("{} ({error})", figures.errors),
        None => "0".to_owned(),
    };
    let megabytes = |kib: Option<u64>| kib.map_or_else(|| "?".to_owned(), |kib| mib(kib).to_string());
    vec![
        mode.to_owned(),
        figures.connections.to_string(),
        figures.requests.to_string(),
        format!("{:.2}", figures.millis(0.5)),
        format!("{:.2}", figures.millis(0.99)),
        format!("{:.0}", figures.per_second()),
        errors,
        megabytes(memory.map(|memory| memory.rss)),
        megabytes(memory.map(|memory| memory.pss)),
    ]
}
