//! The conformance suite, on SQLite and the file system.

use async_trait::async_trait;
use runyard_conformance::{
    make,
    queue::{Ends, Receive},
};
use runyard_embedded::{Embedded, Options, Queue};
use runyard_runs::{AppId, FileStore, MemoryStore, RunId, RunStore, SystemClock, SystemIds};
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

async fn memories() -> (Arc<dyn MemoryStore>, (Embedded, TempDir)) {
    let (embedded, dir) = open();
    (embedded.memories(), (embedded, dir))
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
runyard_conformance::memory_store_tests!(memories);
runyard_conformance::queue_tests!(run_queue);

/// The port leaves it open how much a read gives; here memory is bounded.
#[tokio::test]
async fn a_long_log_is_never_held_whole() {
    let (store, keep) = runs().await;
    let run = make::run(make::app());
    store.create(&run, &make::record()).await.expect("it is created");
    for first in 1..=90 {
        let entry = make::checkpoints(run.id, first, make::claim(), 1, 30_000);
        store.append(&entry).await.expect("it is appended");
    }
    let log = store.read(run.id, 1).await.expect("it is read").expect("there is a run");
    assert!(log.more && (33..60).contains(&log.entries.len()));
    drop(keep);
}
