//! The cost of Python: the latency of a small function in a process forked in advance, and the throughput in
//! evaluations per second without pauses.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use runyard_sandbox::{Arguments, Config, Sandbox};
use serde_json::{Map, Value, json};

const SMALL: &str = "def run(d):\n    return {'content': d['q'] + '!'}";
const JSON: &str = "import json, re\ndef run(d):\n    words = re.findall(r'\\w+', d['q'] * 20)\n    return json.loads(json.dumps({w: len(w) for w in words}))";

fn sandbox() -> Sandbox {
    let program = Some(env!("CARGO_BIN_EXE_runyard-sandbox-child").into());
    Sandbox::new(Config { program, ..Config::default() })
}

fn input() -> Map<String, Value> {
    let text = "I was charged twice for my subscription today, please refund it! The invoice came by email.";
    [("q", "hi"), ("text", text), ("subject", "Charged twice"), ("tier", "business")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect()
}

/// The code of `apps/ticket-triage`.
fn triage() -> String {
    let workflow = include_str!("../../../apps/ticket-triage/workflow.yaml");
    let code = workflow.split_once("    code: |\n").expect("code").1;
    code.lines()
        .take_while(|line| line.is_empty() || line.starts_with("      "))
        .map(|line| line.strip_prefix("      ").unwrap_or_default().to_owned() + "\n")
        .collect()
}

fn one(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let sandbox = sandbox();
    let (input, triage) = (input(), triage());
    for (name, code) in [("small", SMALL), ("json", JSON), ("triage", &triage)] {
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter_custom(async |times: u64| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    // The time between two nodes, in which the next process is forked.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let start = Instant::now();
                    sandbox
                        .run(1, code, &input, Arguments::One, Duration::from_secs(5))
                        .await
                        .expect("a result");
                    took += start.elapsed();
                }
                took
            });
        });
    }
}

/// 16 callers, each of which starts its next evaluation as soon as it has a result.
fn many(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let sandbox = sandbox();
    let mut group = criterion.benchmark_group("16 callers");
    group.throughput(Throughput::Elements(1));
    for (name, code) in [("small", SMALL.to_owned()), ("triage", triage())] {
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter_custom(async |times: u64| {
                let left = std::sync::Arc::new(AtomicU64::new(times));
                let start = Instant::now();
                let callers: Vec<_> = (0..16)
                    .map(|_| {
                        let (sandbox, code, left) = (sandbox.clone(), code.clone(), left.clone());
                        tokio::spawn(async move {
                            let input = input();
                            let take = |left: u64| left.checked_sub(1);
                            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                                sandbox
                                    .run(1, &code, &input, Arguments::One, Duration::from_secs(5))
                                    .await
                                    .expect("a result");
                            }
                        })
                    })
                    .collect();
                for caller in callers {
                    caller.await.expect("a caller");
                }
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one, many);
criterion_main!(benches);
