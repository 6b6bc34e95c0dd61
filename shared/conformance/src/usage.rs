//! `StorageUsage`: the data in the stores of a backend is counted.

use crate::make::{self, NOW};
use runyard_runs::{
    AppId, FileId, FileStore, MemoryScope, MemoryStore, MemoryTurn, NewFile, NewRun, RECORD_BYTES, RunStore,
    StorageUsage, Timestamp,
};
use serde_json::json;
use std::sync::Arc;

const DAY: i64 = 86_400_000;

/// Maximum JSON around the content of a stored item, in bytes.
const MAX_JSON_OVERHEAD: u64 = 1000;

/// The stores of one backend, and how much they store.
pub struct Counted {
    /// The store of runs.
    pub runs: Arc<dyn RunStore>,
    /// The store of files.
    pub files: Arc<dyn FileStore>,
    /// The store of agents' memory, if the backend has one.
    pub memories: Option<Arc<dyn MemoryStore>>,
    /// How much each app has stored.
    pub usage: Arc<dyn StorageUsage>,
}

impl Counted {
    async fn of(&self, app: AppId) -> u64 {
        self.at(app, NOW).await
    }

    async fn at(&self, app: AppId, now: Timestamp) -> u64 {
        self.usage.stored_bytes(app, now).await.unwrap()
    }

    async fn run(&self, app: AppId, bytes: usize) -> NewRun {
        let mut run = make::run(app);
        run.input = json!({"text": "x".repeat(bytes)}).as_object().cloned().unwrap().into();
        self.runs.create(&run, &make::record()).await.unwrap();
        run
    }

    async fn file(&self, app: AppId, bytes: usize, expires_at: Timestamp) -> FileId {
        let id = FileId(make::claim().0);
        let (name, mime_type) = ("a.txt".to_owned(), "text/plain".to_owned());
        let mut upload = self.files.create(NewFile { id, app, name, mime_type, expires_at }).await.unwrap();
        upload.write(vec![b'x'; bytes].into()).await.unwrap();
        upload.finish().await.unwrap();
        id
    }
}

/// Asserts that `now` is `before` plus `content` bytes and the overhead of one item.
fn assert_more(before: u64, now: u64, content: u64) {
    let added = now - before;
    assert!(
        (content..content + RECORD_BYTES + MAX_JSON_OVERHEAD).contains(&added),
        "{added} bytes for {content}"
    );
}

/// Inputs, logs, files and agents' memory count, separately for each app.
pub async fn what_is_stored_is_counted(stores: Counted) {
    let (app, other) = (make::app(), make::app());
    assert_eq!((stores.of(app).await, stores.of(other).await), (0, 0));
    let run = stores.run(app, 20_000).await;
    let with_input = stores.of(app).await;
    assert_more(0, with_input, 20_000);
    // Large enough that some backends store it outside their table.
    stores.runs.append(&make::checkpoints(run.id, 1, make::claim(), 1, 50_000)).await.unwrap();
    let with_entry = stores.of(app).await;
    assert_more(with_input, with_entry, 50_000);
    let entry = make::checkpoints(run.id, 2, make::claim(), 1, 7_000);
    stores.runs.commit(&entry, &make::ended(&entry), &runyard_runs::Guard::Always).await.unwrap();
    let with_end = stores.of(app).await;
    assert_more(with_entry, with_end, 7_000);
    stores.file(app, 30_000, run.expires_at).await;
    let with_file = stores.of(app).await;
    assert_eq!(with_file - with_end, 30_000 + RECORD_BYTES);
    stores.file(app, 0, run.expires_at).await;
    assert_eq!(stores.of(app).await - with_file, RECORD_BYTES, "empty files count, too");
    if let Some(memories) = &stores.memories {
        let before = stores.of(app).await;
        let scope = MemoryScope { app, agent: "a".into(), user_id: Some("u".into()), session_id: None };
        let messages = vec![json!({"role": "user", "content": "x".repeat(5_000)})];
        let (at, expires_at) = (NOW, run.expires_at);
        let turn = MemoryTurn { run: run.id, node: "a".into(), at, expires_at, messages };
        for _ in 0..2 {
            memories.keep(&scope, turn.clone()).await.unwrap();
        }
        assert_more(before, stores.of(app).await, 5_000);
    }
    assert_eq!(stores.of(other).await, 0);
}

/// A run that exists already, an append to a taken slot, and a dropped upload do not count.
pub async fn what_is_not_stored_is_not_counted(stores: Counted) {
    let app = make::app();
    let run = stores.run(app, 10).await;
    let entry = make::checkpoints(run.id, 1, make::claim(), 1, 10);
    stores.runs.append(&entry).await.unwrap();
    let before = stores.of(app).await;
    stores.runs.create(&run, &make::record()).await.unwrap();
    stores.runs.append(&entry).await.unwrap();
    let never = runyard_runs::Guard::Owner(make::claim());
    let next = make::checkpoints(run.id, 2, make::claim(), 1, 10);
    stores.runs.commit(&next, &make::ended(&next), &never).await.unwrap();
    let file = NewFile {
        id: FileId(make::claim().0),
        app,
        name: String::new(),
        mime_type: String::new(),
        expires_at: run.expires_at,
    };
    let mut upload = stores.files.create(file).await.unwrap();
    upload.write(vec![b'x'; 1000].into()).await.unwrap();
    drop(upload);
    assert_eq!(stores.of(app).await, before);
}

/// Data counts until the end of the day on which it expires, even if it is deleted later.
pub async fn days_that_are_over_count_no_more(stores: Counted) {
    let app = make::app();
    let run = stores.run(app, 1_000).await;
    let in_run = stores.of(app).await;
    stores.file(app, 2_000, run.expires_at + std::time::Duration::from_hours(24)).await;
    let all = stores.of(app).await;
    let last_day = run.expires_at.0.div_euclid(DAY) * DAY;
    assert_eq!(stores.at(app, run.expires_at).await, all);
    assert_eq!(stores.at(app, Timestamp(last_day + DAY - 1)).await, all);
    assert_eq!(stores.at(app, Timestamp(last_day + DAY)).await, all - in_run);
    assert_eq!(stores.at(app, Timestamp(last_day + 2 * DAY)).await, 0);
}

/// Removing expired runs after that day does not change the counters.
pub async fn expired_runs_are_swept_out_of_the_count(stores: Counted) {
    let app = make::app();
    let run = stores.run(app, 1_000).await;
    let entry = make::checkpoints(run.id, 1, make::claim(), 1, 10);
    stores.runs.commit(&entry, &make::ended(&entry), &runyard_runs::Guard::Always).await.unwrap();
    let later = Timestamp(run.expires_at.0 + 2 * DAY);
    stores.runs.delete_expired(later, 10).await.unwrap();
    assert_eq!(stores.at(app, later).await, 0);
    let mut next = make::run(app);
    (next.created_at, next.expires_at) = (later, Timestamp(later.0 + DAY));
    stores.runs.create(&next, &make::record()).await.unwrap();
    assert!(stores.at(app, later).await > 0);
}

/// A deleted file is subtracted once, even if it is deleted again.
pub async fn a_deleted_file_counts_no_more(stores: Counted) {
    let app = make::app();
    let kept = stores.file(app, 1_000, Timestamp(NOW.0 + DAY)).await;
    let before = stores.of(app).await;
    let deleted = stores.file(app, 5_000, Timestamp(NOW.0 + DAY)).await;
    for _ in 0..2 {
        stores.files.delete(app, deleted).await.unwrap();
        assert_eq!(stores.of(app).await, before);
    }
    stores.files.delete(make::app(), kept).await.unwrap();
    assert_eq!(stores.of(app).await, before);
}

/// No concurrent write is lost or counted twice.
pub async fn writes_at_the_same_time_are_all_counted(stores: Counted) {
    let app = make::app();
    let run = stores.run(app, 10).await;
    let before = stores.of(app).await;
    let entry = make::checkpoints(run.id, 100, make::claim(), 1, 100);
    stores.runs.append(&entry).await.unwrap();
    let of_one = stores.of(app).await - before;
    let runs = Arc::clone(&stores.runs);
    make::at_once(40, |index| {
        let runs = Arc::clone(&runs);
        let mut entry = entry.clone();
        entry.first = 101 + index as u64;
        async move { runs.append(&entry).await.unwrap() }
    })
    .await;
    assert_eq!(stores.of(app).await, before + 41 * of_one);
}
