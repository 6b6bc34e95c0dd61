//! The suite of the use cases on the simplest implementation: a failure here is an error of the suite or the service.

use runyard_conformance::{
    memory::{MemoryFiles, MemoryQueue, MemoryRuns, MemoryUsage},
    service::Backend,
    service_conformance,
};
use std::sync::Arc;

fn backend() -> Backend {
    let usage = Arc::<MemoryUsage>::default();
    let queue = Arc::<MemoryQueue>::default();
    let receiver = Arc::clone(&queue);
    Backend {
        runs: Arc::new(MemoryRuns::default().counted_by(&usage)),
        files: Arc::new(MemoryFiles::counted_by(&usage)),
        usage,
        queue,
        receive: Arc::new(move || {
            let receiver = Arc::clone(&receiver);
            Box::pin(async move { receiver.receive().await })
        }),
        keep: Box::new(()),
    }
}

service_conformance!(backend());
