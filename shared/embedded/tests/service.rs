//! The conformance suite of the use cases, on SQLite and the file system.

use runyard_conformance::{service::Backend, service_conformance};
use runyard_embedded::{Embedded, Options};
use runyard_runs::{SystemClock, SystemIds};
use std::sync::Arc;

fn backend() -> Backend {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let embedded = Embedded::open(dir.path(), Arc::new(SystemClock), &SystemIds, Options::default());
    let embedded = embedded.expect("it opens");
    let queue = embedded.queue();
    Backend {
        runs: embedded.runs(),
        files: embedded.files(),
        usage: embedded.usage(),
        queue: embedded.queue(),
        receive: Arc::new(move || {
            let queue = Arc::clone(&queue);
            Box::pin(async move { queue.receive().await.1 })
        }),
        keep: Box::new((embedded, dir)),
    }
}

service_conformance!(backend());
