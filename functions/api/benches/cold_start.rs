//! Measures a cold start, up to the function's first poll of the runtime API: CPU of all threads, memory, and time.
//!
//! `cargo bench -p runyard-api --bench cold_start` builds and measures the function on the embedded backend. With
//! `RUNYARD_BENCH_API=target/zip/api` it measures that executable, as it is deployed. Prints the figures and fails if a
//! median exceeds its target: 15 ms of CPU, 30 MB resident.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "the benchmark may panic; no figure comes near 2^52"
)]

#[path = "../../../tests/lambda/runtime.rs"]
mod runtime;

use runtime::Function;
use std::{fs, process::ExitCode, time::Instant};

const STARTS: usize = 50;
const MAX_CPU_MS: f64 = 15.0;
const MAX_RESIDENT_MB: f64 = 30.0;

/// The figures of one start.
struct Start {
    cpu_ms: f64,
    resident_mb: f64,
    wall_ms: f64,
}

fn main() -> ExitCode {
    // `cargo test --benches` only checks that the benchmark runs.
    let starts = if std::env::args().any(|argument| argument == "--bench") { STARTS } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut all: Vec<Start> = (0..starts).map(|_| runtime.block_on(start())).collect();
    let mut at = |of: fn(&Start) -> f64| {
        all.sort_by(|one, other| of(one).total_cmp(&of(other)));
        (of(&all[all.len() / 2]), of(&all[all.len() * 9 / 10]))
    };
    let (cpu, resident, wall) = (at(|it| it.cpu_ms), at(|it| it.resident_mb), at(|it| it.wall_ms));
    println!("{starts} starts, to the first poll          p50       p90");
    println!("  CPU, all threads            {:>8.2} ms {:>6.2} ms   target {MAX_CPU_MS} ms", cpu.0, cpu.1);
    println!(
        "  resident                    {:>8.1} MB {:>6.1} MB   target {MAX_RESIDENT_MB} MB",
        resident.0, resident.1
    );
    println!("  from spawn, this machine    {:>8.2} ms {:>6.2} ms", wall.0, wall.1);
    let size = fs::metadata(given().unwrap_or_else(|| env!("CARGO_BIN_EXE_api").to_owned())).unwrap().len();
    println!("  executable                  {:>8.1} MB", size as f64 / 1e6);
    ExitCode::from(u8::from(starts > 1 && (cpu.0 > MAX_CPU_MS || resident.0 > MAX_RESIDENT_MB)))
}

/// The executable to measure, if not the one that was built for this benchmark.
fn given() -> Option<String> {
    std::env::var("RUNYARD_BENCH_API").ok()
}

/// The variables of a deployed function, for a stack that does not exist: none of it is called before the first poll.
fn deployed() -> Vec<(&'static str, String)> {
    let nowhere = "http://127.0.0.1:9/runs";
    let variables = [
        ("RUNYARD_TABLE", "runyard"),
        ("RUNYARD_BUCKET", "runyard"),
        ("RUNYARD_QUEUE_URL", nowhere),
        ("AWS_ENDPOINT_URL", nowhere),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    variables.map(|(name, value)| (name, value.to_owned())).to_vec()
}

async fn start() -> Start {
    let data = tempfile::tempdir().unwrap();
    let (binary, variables) = match given() {
        Some(binary) => (binary, deployed()),
        None => (env!("CARGO_BIN_EXE_api").to_owned(), runtime::embedded(data.path())),
    };
    let began = Instant::now();
    let mut function = Function::start(&binary, &variables).await;
    function.first_poll.take().unwrap().await.unwrap();
    let wall_ms = began.elapsed().as_secs_f64() * 1e3;
    let process = format!("/proc/{}", function.process.id());
    let mut nanos = 0;
    for task in fs::read_dir(format!("{process}/task")).unwrap() {
        let times = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        nanos += times.split(' ').next().unwrap().parse::<u64>().unwrap();
    }
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Start { cpu_ms: nanos as f64 / 1e6, resident_mb: resident * 1024.0 / 1e6, wall_ms }
}
