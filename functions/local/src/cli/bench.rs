//! `runyard bench`: measure a server.

use super::args::Place;
use crate::{
    bench::{self, Plan, Scenario, Until},
    exit::Exit,
};
use anyhow::Result;
use clap::Args;
use std::{path::PathBuf, time::Duration};

const ABOUT: &str = "Measure a server: latency, runs per second, memory.

Without --url, bench starts a server to measure: this executable as `serve`, with the apps of --apps, on a temporary
data directory and a free port.

  sync        POST /v1/runs, to the end of the answer
  background  POST /v1/runs with `background` and `Prefer: wait`, to the answer with the completed run
  stream      POST /v1/runs with `stream`, to the first event

The load generator is one thread on this machine. Memory is that of the server and its sandboxes, read from
/proc/PID/smaps_rollup after each row.

Scenarios:

  start    from starting the process to the first answers, with --stored runs in the data directory (100,000)
  memory   after a number of sync runs (100,000)
  streams  1,000 streamed runs held open at the same time
  list     pages with a filter over stored runs (1,000,000)";

const EXAMPLES: &str = "Examples:
  runyard bench
  runyard bench --seconds 10 --connections 1,16 --json
  runyard bench --scenario start --scenario list --stored 200000
  runyard bench --url http://127.0.0.1:8787 --key \"$(cat .runyard/dev-key)\" --app echo";

#[derive(Args, Debug)]
#[command(about = "Measure a server: latency, runs per second, memory", long_about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// The app to run; its input is sample-input.json in its folder, or --input
    #[arg(long, default_value = "echo")]
    app: String,
    /// The input of the app, instead of its sample-input.json
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Numbers of concurrent connections to measure
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,256")]
    connections: Vec<usize>,
    /// Seconds to measure for each row
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Number of requests to measure for each row, instead of --seconds
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    requests: Option<u64>,
    /// Measure this scenario instead of the table; repeat it for more
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Number of runs that a scenario stores first
    #[arg(long, value_name = "N")]
    stored: Option<u64>,
    /// Measure this server (http only)
    #[arg(long, env = "RUNYARD_URL")]
    url: Option<String>,
    /// The access key for --url
    #[arg(long, env = "RUNYARD_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The process whose memory is measured, with --url
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// The folder of apps for the server that bench starts
    #[arg(long, value_name = "DIR", env = "RUNYARD_APPS", default_value = "apps")]
    apps: PathBuf,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn bench(args: BenchArgs) -> Result<Exit> {
    let input = match &args.input {
        Some(input) => Some(super::args::json_object(input, "--input")?),
        None => None,
    };
    let plan = Plan {
        place: Place { apps: args.apps, data: PathBuf::new(), default_app: Some(args.app.clone()) },
        app: args.app,
        input,
        connections: args.connections,
        until: args.requests.map_or(Until::Time(Duration::from_secs(args.seconds)), Until::Requests),
        stored: args.stored,
        server: args.url.map(|url| bench::Given { url, key: args.key.unwrap_or_default(), pid: args.pid }),
        json: args.json,
    };
    let succeeded = if args.scenario.is_empty() {
        bench::table(&plan).await?
    } else {
        bench::scenarios(&plan, &args.scenario).await?
    };
    Ok(if succeeded { Exit::Done } else { Exit::Failed })
}
