//! What a small function costs: a fork, its compilation, its call, two conversions and a burial.

use std::time::Duration;

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
            bencher.to_async(&runtime).iter(async || {
                sandbox.run(code, &input, Arguments::One, Duration::from_secs(5)).await.expect("a result")
            });
        });
    }
}

criterion_group!(benches, warm);
criterion_main!(benches);
