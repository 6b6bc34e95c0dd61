//! The conformance suite, on SQLite and the file system.

use async_trait::async_trait;
use runyard_conformance::{
    make,
    queue::{Ends, Receive},
    unreadable::{Damage, Damaged, How},
};
use runyard_embedded::{Embedded, Options, Queue};
use runyard_runs::{
    AppId, FileStore, MemoryScope, MemoryStore, MemoryTurn, RunId, RunStore, SystemClock, SystemIds,
    Timestamp,
};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;

async fn runs() -> (Arc<dyn RunStore>, (Embedded, TempDir)) {
    let (embedded, dir) = open();
    (embedded.runs(), (embedded, dir))
}

async fn damaged_runs() -> (Damaged, (Embedded, TempDir)) {
    let (embedded, dir) = open();
    let damage = Arc::new(Database(dir.path().join("runyard.db")));
    (Damaged { runs: embedded.runs(), damage }, (embedded, dir))
}

/// Another hand on the database.
struct Database(PathBuf);

#[async_trait]
impl Damage for Database {
    async fn damage(&self, run: RunId, how: How) {
        let database = rusqlite::Connection::open(&self.0).expect("the database");
        let changed = match how {
            How::LaterVersion => database.execute(
                "UPDATE log SET entry = json_set(entry, '$.v', 99, '$.e', 'of another form') WHERE run = ?1 AND first = 1",
                [run.0],
            ),
            How::Entry => database.execute("UPDATE log SET entry = x'7b' WHERE run = ?1 AND first = 1", [run.0]),
            How::Record => database.execute("UPDATE runs SET status = 99, rev = 'many' WHERE id = ?1", [run.0]),
            How::Content => database.execute("DELETE FROM log WHERE run = ?1 AND first = 0", [run.0]),
        };
        assert_eq!(changed.expect("it is damaged"), 1);
    }
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
runyard_conformance::unreadable_run_tests!(damaged_runs);
runyard_conformance::file_store_tests!(file_store);
runyard_conformance::memory_store_tests!(memories);
runyard_conformance::queue_tests!(run_queue);

/// What agents remember of a run leaves the disk when the run does.
#[tokio::test]
async fn what_has_expired_leaves_the_disk() {
    let (embedded, dir) = open();
    let scope =
        MemoryScope { app: make::app(), agent: "a".into(), user_id: Some("u".into()), session_id: None };
    let turn = |number: i64, expires_at| MemoryTurn {
        run: make::run(scope.app).id,
        node: "a".into(),
        at: Timestamp(number),
        expires_at: Timestamp(expires_at),
        messages: Vec::new(),
    };
    for number in 0..300 {
        embedded.memories().keep(&scope, turn(number, 1_000 + number % 2)).await.expect("it is kept");
    }
    let left = || {
        let database = rusqlite::Connection::open(dir.path().join("runyard.db")).expect("the database");
        database.query_row("SELECT count(*) FROM memories", (), |row| row.get::<_, i64>(0)).expect("a count")
    };
    for (now, kept) in [(999, 300), (1_000, 150), (1_001, 0)] {
        embedded.runs().delete_expired(Timestamp(now), 10).await.expect("the store answers");
        assert_eq!(left(), kept, "at {now}");
    }
}

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
