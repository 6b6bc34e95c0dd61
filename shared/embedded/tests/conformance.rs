//! The conformance suite, on SQLite and the file system.

use async_trait::async_trait;
use runyard_conformance::queue::{Ends, Receive};
use runyard_embedded::{Embedded, Options, Queue};
use runyard_runs::{AppId, FileStore, RunId, RunStore, SystemClock, SystemIds};
use std::sync::Arc;
use tempfile::TempDir;

async fn runs() -> (Arc<dyn RunStore>, (Embedded, TempDir)) {
    let (embedded, dir) = open();
    (embedded.runs(), (embedded, dir))
}

async fn file_store() -> (Arc<dyn FileStore>, (Embedded, TempDir)) {
    let (embedded, dir) = open();
    (embedded.files(), (embedded, dir))
}

async fn run_queue() -> (Ends, ()) {
    let queue = Arc::new(Queue::default());
    let receive = Arc::new(Receiver(Arc::clone(&queue)));
    (Ends { queue, receive }, ())
}

struct Receiver(Arc<Queue>);

#[async_trait]
impl Receive for Receiver {
    async fn receive(&self) -> (AppId, RunId) {
        self.0.receive().await
    }
}

fn open() -> (Embedded, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(SystemClock);
    let embedded = Embedded::open(dir.path(), clock, &SystemIds, Options::default()).expect("it opens");
    (embedded, dir)
}

runyard_conformance::run_store_tests!(runs);
runyard_conformance::file_store_tests!(file_store);
runyard_conformance::queue_tests!(run_queue);
