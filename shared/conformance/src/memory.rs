//! The ports in memory: the simplest implementation of their promises, for tests.
//!
//! Nothing is durable, and every list scans all runs.

use crate::unreadable::{Damage, How};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use runyard_runs::{
    AccessKey, AppId, Append, COUNT_CAP, Create, Entry, File, FileId, FileStore, Guard, Head,
    IdempotencyItem, KeyStore, ListError, ListQuery, LogRange, LogRead, NewFile, NewRun, PAGE_BYTES,
    PageStart, RECORD_BYTES, Record, RecordChange, RunId, RunPage, RunQueue, RunStore, Sequence, SortBy,
    StorageUsage, StoreError, StoredRun, Timestamp, Update, Upload,
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// [`RunStore`] in memory.
///
/// Panics if a writer leaves a gap in a log: the protocol never does.
#[derive(Default)]
pub struct MemoryRuns {
    state: Mutex<Runs>,
    changed: Notify,
    gaps: bool,
    /// Whether reads of logs fail.
    failing: AtomicBool,
    /// The runs whose reads fail.
    damaged: Mutex<HashSet<RunId>>,
    usage: Arc<MemoryUsage>,
}

impl MemoryRuns {
    /// A store that allows gaps, for the suite of the port: the port does not promise that there are none, the writers
    /// avoid them.
    pub fn with_gaps() -> Self {
        Self { gaps: true, ..Self::default() }
    }

    /// Counts stored bytes in `usage`.
    pub fn counted_by(self, usage: &Arc<MemoryUsage>) -> Self {
        Self { usage: Arc::clone(usage), ..self }
    }

    /// Sets whether reads of logs fail.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Relaxed);
    }

    fn readable(&self, run: RunId) -> Result<(), StoreError> {
        if lock(&self.damaged).contains(&run) {
            return Err(StoreError::Failed("the run is damaged".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Damage for MemoryRuns {
    async fn damage(&self, run: RunId, _how: How) {
        lock(&self.damaged).insert(run);
    }
}

#[derive(Default)]
struct Runs {
    runs: BTreeMap<RunId, Stored>,
    keys: HashMap<[u8; 32], IdempotencyItem>,
}

struct Stored {
    new: NewRun,
    record: Record,
    log: Vec<Entry>,
}

impl Stored {
    fn end(&self) -> Sequence {
        self.log.last().map_or(0, Entry::last)
    }

    fn append(
        &mut self,
        entry: &Entry,
        change: Option<&RecordChange>,
        guard: &Guard,
        gaps: bool,
        usage: &MemoryUsage,
    ) -> Append {
        if !guard.holds(&self.record) {
            return Append::Refused;
        }
        if self.log.iter().any(|existing| existing.first == entry.first) {
            return Append::Taken;
        }
        assert!(gaps || entry.first == self.end() + 1, "a writer has left a gap in the log");
        self.log.push(entry.clone());
        usage.change(self.new.app, self.new.expires_at, json_bytes(&serde_json::to_vec(entry)));
        if let Some(change) = change {
            change.apply(&mut self.record);
        }
        Append::Done
    }

    fn stored_run(&self) -> StoredRun {
        StoredRun { new: self.new.clone(), record: self.record.clone(), last: self.log.last().cloned() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl RunStore for MemoryRuns {
    async fn create(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError> {
        let mut state = lock(&self.state);
        if state.runs.contains_key(&run.id) {
            return Ok(Create::Exists);
        }
        self.usage.change(run.app, run.expires_at, json_bytes(&serde_json::to_vec(run)) + RECORD);
        state.runs.insert(run.id, Stored { new: run.clone(), record: record.clone(), log: Vec::new() });
        Ok(Create::Done)
    }

    async fn bind(&self, item: &IdempotencyItem) -> Result<IdempotencyItem, StoreError> {
        let mut state = lock(&self.state);
        let bound = state.keys.entry(item.key).or_insert_with(|| item.clone());
        if bound.bound_at < item.valid_since {
            *bound = item.clone();
        }
        Ok(bound.clone())
    }

    async fn append(&self, entry: &Entry) -> Result<Append, StoreError> {
        let done = lock(&self.state)
            .runs
            .get_mut(&entry.run)
            .map_or(Append::Refused, |run| run.append(entry, None, &Guard::Always, self.gaps, &self.usage));
        self.changed.notify_waiters();
        Ok(done)
    }

    async fn commit(
        &self,
        entry: &Entry,
        change: &RecordChange,
        guard: &Guard,
    ) -> Result<Append, StoreError> {
        let done = lock(&self.state)
            .runs
            .get_mut(&entry.run)
            .map_or(Append::Refused, |run| run.append(entry, Some(change), guard, self.gaps, &self.usage));
        self.changed.notify_waiters();
        Ok(done)
    }

    async fn update(&self, run: RunId, change: &RecordChange, guard: &Guard) -> Result<Update, StoreError> {
        let mut state = lock(&self.state);
        let Some(run) = state.runs.get_mut(&run).filter(|run| guard.holds(&run.record)) else {
            return Ok(Update::Refused);
        };
        change.apply(&mut run.record);
        Ok(Update::Done)
    }

    async fn read_range(&self, run: RunId, range: LogRange) -> Result<Option<LogRead>, StoreError> {
        if self.failing.load(Relaxed) {
            return Err(StoreError::Unknown("the store is set to fail".into()));
        }
        self.readable(run)?;
        let state = lock(&self.state);
        let Some(run) = state.runs.get(&run) else { return Ok(None) };
        let mut read =
            LogRead { app: run.new.app, record: run.record.clone(), entries: Vec::new(), more: false };
        let mut bytes = 0;
        for entry in &run.log {
            if entry.last() < range.from || entry.first > range.to {
                continue;
            }
            if !read.entries.is_empty() && bytes >= range.bytes {
                read.more = true;
                break;
            }
            bytes += serde_json::to_vec(entry).map_err(|error| StoreError::Failed(error.into()))?.len();
            read.entries.push(entry.clone());
        }
        Ok(Some(read))
    }

    async fn head(&self, run: RunId) -> Result<Option<Head>, StoreError> {
        self.readable(run)?;
        Ok(lock(&self.state).runs.get(&run).map(|run| Head {
            app: run.new.app,
            expires_at: run.new.expires_at,
            record: run.record.clone(),
            last: run.log.last().cloned(),
        }))
    }

    async fn get(&self, run: RunId) -> Result<Option<StoredRun>, StoreError> {
        self.readable(run)?;
        Ok(lock(&self.state).runs.get(&run).map(Stored::stored_run))
    }

    async fn list(&self, query: &ListQuery) -> Result<RunPage, ListError> {
        let state = lock(&self.state);
        let mut runs: Vec<StoredRun> =
            state.runs.values().map(Stored::stored_run).filter(|run| matches(query, run)).collect();
        runs.sort_by(|a, b| order(query, a, b));
        let found = runs.len() as u64;
        let start = match &query.start {
            PageStart::Offset(offset) => usize::try_from(*offset).unwrap_or(usize::MAX),
            PageStart::Cursor(cursor) => {
                let id = cursor.strip_prefix(&cursor_prefix(query)).ok_or(ListError::BadCursor)?;
                let id: RunId = id.parse().map_err(|_| ListError::BadCursor)?;
                runs.iter().position(|run| run.new.id == id).ok_or(ListError::BadCursor)? + 1
            }
        };
        let mut page: Vec<StoredRun> = runs.into_iter().skip(start).take(query.page_size as usize).collect();
        if page.len() > 1 && page.iter().map(content).sum::<usize>() > PAGE_BYTES {
            return Err(ListError::TooLarge);
        }
        let more = found > (start + page.len()) as u64;
        let next_cursor =
            page.last().filter(|_| more).map(|last| cursor_prefix(query) + &last.new.id.to_string());
        page.retain(|run| self.readable(run.new.id).is_ok());
        Ok(RunPage { total_count: found.min(COUNT_CAP), capped: found > COUNT_CAP, next_cursor, runs: page })
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(AppId, RunId)>, StoreError> {
        let state = lock(&self.state);
        let mut due: Vec<_> =
            state.runs.values().filter(|run| run.record.due.is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|run| run.record.due);
        Ok(due.into_iter().take(limit).map(|run| (run.new.app, run.new.id)).collect())
    }

    async fn postpone(&self, run: RunId, now: Timestamp, until: Timestamp) -> Result<Update, StoreError> {
        let mut state = lock(&self.state);
        let run = state.runs.get_mut(&run).filter(|run| run.record.due.is_some_and(|due| due <= now));
        let Some(run) = run else { return Ok(Update::Refused) };
        run.record.due = Some(until);
        Ok(Update::Done)
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut state = lock(&self.state);
        let expired: Vec<RunId> = state
            .runs
            .values()
            .filter(|run| run.new.expires_at <= now && run.record.status.is_terminal())
            .map(|run| run.new.id)
            .take(limit)
            .collect();
        for run in &expired {
            state.runs.remove(run);
            lock(&self.damaged).remove(run);
        }
        Ok(expired.len())
    }

    async fn changed(&self, run: RunId, after: Sequence, at_most: Duration) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if lock(&self.state).runs.get(&run).is_none_or(|run| run.end() <= after) {
            let _ = tokio::time::timeout(at_most, changed).await;
        }
    }
}

/// The bytes of a run in a page: its request and its last entry, as JSON.
fn content(run: &StoredRun) -> usize {
    let input = serde_json::to_vec(&run.new).map_or(0, |json| json.len());
    input + run.last.as_ref().map_or(0, |entry| serde_json::to_vec(entry).map_or(0, |json| json.len()))
}

/// Identifies the query that a cursor belongs to: a hash over all of it except the page.
fn cursor_prefix(query: &ListQuery) -> String {
    let whole = ListQuery { start: PageStart::Offset(0), page_size: 0, ..query.clone() };
    let mut hasher = DefaultHasher::new();
    format!("{whole:?}").hash(&mut hasher);
    format!("{:x}:", hasher.finish())
}

/// Whether a run matches a query.
pub fn matches(query: &ListQuery, run: &StoredRun) -> bool {
    let status = run.record.status.reported(run.record.unanswered);
    run.new.app == query.app
        && (query.statuses.is_empty() || query.statuses.contains(&status))
        && (query.user_id.is_none() || run.new.user_id == query.user_id)
        && (query.session_id.is_none() || run.new.session_id == query.session_id)
        && query.metadata.iter().all(|(key, value)| run.new.metadata.get(key) == Some(value))
}

/// The order of two runs in a list; ties are ordered by id, in the direction of the last term.
pub fn order(query: &ListQuery, a: &StoredRun, b: &StoredRun) -> Ordering {
    let mut descending = false;
    for sort in &query.sort {
        descending = sort.descending;
        let directed = |order: Ordering| if sort.descending { order.reverse() } else { order };
        let order = match sort.by {
            SortBy::StartedAt => directed(a.new.created_at.cmp(&b.new.created_at)),
            SortBy::EndedAt => match (a.record.ended_at, b.record.ended_at) {
                (Some(a), Some(b)) => directed(a.cmp(&b)),
                (a, b) => a.is_none().cmp(&b.is_none()),
            },
            SortBy::Status => {
                let status = |run: &StoredRun| run.record.status.reported(run.record.unanswered);
                directed(status(a).cmp(&status(b)))
            }
        };
        if order.is_ne() {
            return order;
        }
    }
    let ids = a.new.id.cmp(&b.new.id);
    if descending { ids.reverse() } else { ids }
}

/// [`RunQueue`] in memory.
pub struct MemoryQueue {
    sender: mpsc::UnboundedSender<RunId>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<RunId>>,
}

impl Default for MemoryQueue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: tokio::sync::Mutex::new(receiver) }
    }
}

impl MemoryQueue {
    /// Waits for the next message.
    pub async fn receive(&self) -> RunId {
        let received = self.receiver.lock().await.recv().await;
        received.expect("the sender lives as long as the receiver")
    }
}

#[async_trait]
impl RunQueue for MemoryQueue {
    async fn enqueue(&self, _app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError> {
        let sender = self.sender.clone();
        if delay.is_zero() {
            let _ = sender.send(run);
            return Ok(());
        }
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = sender.send(run);
        });
        Ok(())
    }
}

/// [`StorageUsage`] of [`MemoryRuns`] and [`MemoryFiles`]: bytes by app and day of expiry.
#[derive(Default)]
pub struct MemoryUsage(Mutex<BTreeMap<(AppId, i64), i64>>);

impl MemoryUsage {
    fn change(&self, app: AppId, expires_at: Timestamp, bytes: i64) {
        *lock(&self.0).entry((app, expires_at.day())).or_default() += bytes;
    }
}

#[async_trait]
impl StorageUsage for MemoryUsage {
    async fn stored_bytes(&self, app: AppId, now: Timestamp) -> Result<u64, StoreError> {
        let counters = lock(&self.0);
        let bytes: i64 = counters.range((app, now.day())..=(app, i64::MAX)).map(|(_, bytes)| bytes).sum();
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}

/// Bytes counted per run or file in addition to its content.
const RECORD: i64 = RECORD_BYTES.cast_signed();

fn json_bytes(json: &serde_json::Result<Vec<u8>>) -> i64 {
    json.as_ref().map_or(0, |json| size(json.len()))
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

type StoredFiles = HashMap<FileId, (AppId, Timestamp, File, Bytes)>;

/// [`FileStore`] in memory.
#[derive(Default)]
pub struct MemoryFiles {
    files: Arc<Mutex<StoredFiles>>,
    usage: Arc<MemoryUsage>,
}

impl MemoryFiles {
    /// An empty store that counts stored bytes in `usage`.
    pub fn counted_by(usage: &Arc<MemoryUsage>) -> Self {
        Self { usage: Arc::clone(usage), ..Self::default() }
    }

    /// The number of stored files.
    pub fn count(&self) -> usize {
        lock(&self.files).len()
    }
}

struct MemoryUpload {
    files: Arc<Mutex<StoredFiles>>,
    usage: Arc<MemoryUsage>,
    new: NewFile,
    content: Vec<u8>,
}

#[async_trait]
impl FileStore for MemoryFiles {
    async fn create(&self, file: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        let (files, usage) = (Arc::clone(&self.files), Arc::clone(&self.usage));
        Ok(Box::new(MemoryUpload { files, usage, new: file, content: Vec::new() }))
    }

    async fn get(&self, app: AppId, id: FileId) -> Result<Option<File>, StoreError> {
        let files = lock(&self.files);
        Ok(files.get(&id).filter(|(owner, ..)| *owner == app).map(|(_, _, file, _)| file.clone()))
    }

    async fn open(
        &self,
        app: AppId,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        let content = {
            let files = lock(&self.files);
            files.get(&id).filter(|(owner, ..)| *owner == app).map(|(.., content)| content.clone())
        };
        Ok(content.map(|content| {
            let pieces: Vec<_> = content.chunks(65_536).map(|piece| Ok(content.slice_ref(piece))).collect();
            stream::iter(pieces).boxed()
        }))
    }

    async fn delete(&self, app: AppId, id: FileId) -> Result<(), StoreError> {
        let mut files = lock(&self.files);
        if files.get(&id).is_some_and(|(owner, ..)| *owner == app)
            && let Some((_, expires_at, _, content)) = files.remove(&id)
        {
            self.usage.change(app, expires_at, -(size(content.len()) + RECORD));
        }
        Ok(())
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut files = lock(&self.files);
        let before = files.len();
        let mut left = limit;
        files.retain(|_, (_, expires_at, ..)| {
            let expired = *expires_at <= now && left > 0;
            left -= usize::from(expired);
            !expired
        });
        Ok(before - files.len())
    }
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.content.extend_from_slice(&piece);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<File, StoreError> {
        let Self { files, usage, new, content } = *self;
        let NewFile { id, app, name, mime_type, expires_at } = new;
        let file = File { id, name, size: content.len() as u64, mime_type };
        usage.change(app, expires_at, size(content.len()) + RECORD);
        lock(&files).insert(id, (app, expires_at, file.clone(), content.into()));
        Ok(file)
    }
}

/// [`KeyStore`] in memory.
#[derive(Default)]
pub struct MemoryKeys {
    keys: Mutex<HashMap<String, AccessKey>>,
}

impl MemoryKeys {
    /// Stores a key.
    pub fn insert(&self, key: AccessKey) {
        lock(&self.keys).insert(key.id.clone(), key);
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        Ok(lock(&self.keys).get(id).cloned())
    }
}
