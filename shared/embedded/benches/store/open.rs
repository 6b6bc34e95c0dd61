//! From opening the data directory to the first answer, with 100,000 runs stored (or `RUNS`).

use crate::data;
use criterion::Criterion;
use runyard_runs::{RunId, RunStore};
use uuid::Uuid;

pub(crate) fn run(criterion: &mut Criterion) {
    let count = std::env::var("RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let dir = data::directory();
    data::fill(dir.path(), count);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    criterion.bench_function(&format!("open, read and close with {count} runs"), |bencher| {
        bencher.iter(|| {
            let embedded = data::open(dir.path());
            runtime.block_on(embedded.runs().get(RunId(Uuid::nil()))).expect("it answers")
        });
    });
}
