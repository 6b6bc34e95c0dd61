//! What a small function costs: its compilation, its call and two conversions, in a process that was forked before.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use runyard_sandbox::{Arguments, Config, Sandbox};
use serde_json::{Map, json};

fn warm(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let program = Some(env!("CARGO_BIN_EXE_runyard-sandbox-child").into());
    let sandbox = Sandbox::new(Config { program, ..Config::default() });
    let input: Map<_, _> = [("q".to_owned(), json!("hi"))].into_iter().collect();
    for (name, code) in [
        ("small", "def run(d):\n    return {'content': d['q'] + '!'}"),
        (
            "json",
            "import json, re\ndef run(d):\n    words = re.findall(r'\\w+', d['q'] * 20)\n    return json.loads(json.dumps({w: len(w) for w in words}))",
        ),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter_custom(async |times: u64| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    // Between two nodes something else happens: the next process is forked meanwhile.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let start = Instant::now();
                    sandbox
                        .run(code, &input, Arguments::One, Duration::from_secs(5))
                        .await
                        .expect("a result");
                    took += start.elapsed();
                }
                took
            });
        });
    }
}

criterion_group!(benches, warm);
criterion_main!(benches);
