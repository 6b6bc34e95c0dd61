//! The conformance suite, on SQLite and the file system.

use async_trait::async_trait;
use runyard_conformance::{
    make,
    queue::{Ends, Receive},
    unreadable::{Damage, Damaged, How},
    usage::Counted,
};
use runyard_embedded::{Embedded, Options, Queue};
use runyard_runs::{
    AppId, FileId, FileStore, MemoryScope, MemoryStore, MemoryTurn, NewFile, RunId, RunStore, StorageUsage,
    SystemClock, SystemIds, Timestamp,
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

/// A direct connection to the database, past the store.
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

async fn counted() -> (Counted, (Embedded, TempDir)) {
    let (embedded, dir) = open();
    let (runs, files, usage) = (embedded.runs(), embedded.files(), embedded.usage());
    (Counted { runs, files, memories: Some(embedded.memories()), usage }, (embedded, dir))
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
    (open_in(&dir), dir)
}

fn open_in(dir: &TempDir) -> Embedded {
    Embedded::open(dir.path(), Arc::new(SystemClock), &SystemIds, Options::default()).expect("it opens")
}

runyard_conformance::run_store_tests!(runs);
runyard_conformance::unreadable_run_tests!(damaged_runs);
runyard_conformance::file_store_tests!(file_store);
runyard_conformance::memory_store_tests!(memories);
runyard_conformance::storage_usage_tests!(counted);
runyard_conformance::queue_tests!(run_queue);

/// Expired memory of agents is removed together with expired runs.
#[tokio::test]
async fn expired_memories_are_deleted_from_disk() {
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

/// The port does not define how much a read returns; this implementation bounds its memory.
#[tokio::test]
async fn a_long_log_is_read_in_parts() {
    let (store, keep) = runs().await;
    let run = make::run(make::app());
    store.create(&run, &make::record()).await.expect("it is created");
    for first in 1..=90 {
        let entry = make::checkpoints(run.id, first, make::claim(), 1, 30_000);
        store.append(&entry).await.expect("it is appended");
    }
    let log = store.read(run.id, 1).await.expect("it is read").expect("the run exists");
    assert!(log.more && (33..60).contains(&log.entries.len()));
    drop(keep);
}

/// The data of an earlier release is counted once, when the database is opened.
#[tokio::test]
async fn data_of_earlier_releases_is_counted() {
    let (counted, (embedded, dir)) = counted().await;
    let run = make::run(make::app());
    counted.runs.create(&run, &make::record()).await.expect("it is created");
    counted
        .runs
        .append(&make::checkpoints(run.id, 1, make::claim(), 1, 100_000))
        .await
        .expect("it is appended");
    let (id, name, expires_at) = (FileId(make::claim().0), String::new(), run.expires_at);
    let file = NewFile { id, app: run.app, name, mime_type: String::new(), expires_at };
    let mut upload = counted.files.create(file).await.expect("it begins");
    upload.write(vec![0; 5_000].into()).await.expect("it is written");
    upload.finish().await.expect("it is stored");
    let scope =
        MemoryScope { app: run.app, agent: "a".into(), user_id: Some("\u{fc}".into()), session_id: None };
    let messages = vec!["\u{fc}".repeat(1000).into()];
    let turn = MemoryTurn { run: run.id, node: "a".into(), at: make::NOW, expires_at, messages };
    embedded.memories().keep(&scope, turn).await.expect("it is kept");
    let bytes = counted.usage.stored_bytes(run.app, make::NOW).await.expect("it is known");
    assert!(bytes > 100_000);
    drop((counted, embedded));
    let database = rusqlite::Connection::open(dir.path().join("runyard.db")).expect("the database");
    database
        .execute_batch("DROP TABLE stored_bytes; PRAGMA user_version = 2")
        .expect("the schema is that of an earlier release");
    drop(database);
    for _ in 0..2 {
        let usage = open_in(&dir).usage();
        assert_eq!(usage.stored_bytes(run.app, make::NOW).await.expect("it is known"), bytes);
        let later = Timestamp(expires_at.0 + 86_400_000);
        assert_eq!(usage.stored_bytes(run.app, later).await.expect("it is known"), 0);
    }
}

/// What is counted in memory only is stored when the database is closed.
#[tokio::test]
async fn counts_outlive_the_process() {
    let (one, dir) = open();
    let app = make::app();
    for _ in 0..3 {
        one.runs().create(&make::run(app), &make::record()).await.expect("it is created");
    }
    let bytes = one.usage().stored_bytes(app, make::NOW).await.expect("it is known");
    drop(one);
    assert_eq!(open_in(&dir).usage().stored_bytes(app, make::NOW).await.expect("it is known"), bytes);
}

/// Processes that share a data directory count each other's data when they write.
#[tokio::test]
async fn data_of_other_processes_is_counted() {
    let (one, dir) = open();
    let other = open_in(&dir);
    let app = make::app();
    one.runs().create(&make::run(app), &make::record()).await.expect("it is created");
    other.runs().create(&make::run(app), &make::record()).await.expect("it is created");
    let of_one = one.usage().stored_bytes(app, make::NOW).await.expect("it is known");
    let of_both = other.usage().stored_bytes(app, make::NOW).await.expect("it is known");
    assert_eq!(of_both, 2 * of_one, "counters that this process adds to are exact at once");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    one.runs().create(&make::run(make::app()), &make::record()).await.expect("it is created");
    assert_eq!(one.usage().stored_bytes(app, make::NOW).await.expect("it is known"), of_both);
}
