//! The cost of the service itself per run: the ports are in memory, and the engine does almost nothing.

use criterion::{Criterion, criterion_group, criterion_main};
use runyard_conformance::{
    memory::{MemoryFiles, MemoryQueue, MemoryRuns, MemoryUsage},
    service::{Backend, World},
};
use std::sync::Arc;

fn world() -> World {
    let usage = Arc::<MemoryUsage>::default();
    World::new(Backend {
        runs: Arc::new(MemoryRuns::default().counted_by(&usage)),
        files: Arc::new(MemoryFiles::counted_by(&usage)),
        usage,
        queue: Arc::<MemoryQueue>::default(),
        receive: Arc::new(|| Box::pin(std::future::pending())),
        keep: Box::new(()),
    })
}

fn sync_run(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let world = world();
    criterion.bench_function("sync run, no store", |bencher| {
        bencher.to_async(&runtime).iter(|| world.sync(serde_json::json!([1])));
    });
}

criterion_group!(benches, sync_run);
criterion_main!(benches);
