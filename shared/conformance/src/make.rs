//! Runs, records and entries for the tests.

use runyard_runs::{
    AppId, ClaimId, ENTRY_VERSION, Entry, EventBody, Field, Ids, LogState, Logged, NewRun, Record,
    RecordChange, RunId, RunStatus, Sequence, SystemIds, Timestamp,
};
use serde_json::json;
use std::collections::BTreeMap;

/// 2026-06-10T09:15:21Z. Tests use a time in the past, to detect a store that wrongly uses its own clock.
pub const NOW: Timestamp = Timestamp(1_781_082_921_000);

/// A new app.
pub fn app() -> AppId {
    AppId(SystemIds.random())
}

/// A new claim.
pub fn claim() -> ClaimId {
    ClaimId(SystemIds.random())
}

/// A run without optional fields, created at [`NOW`].
pub fn run(app: AppId) -> NewRun {
    NewRun {
        id: RunId(SystemIds.ordered()),
        app,
        app_version: "v1".to_owned(),
        created_at: NOW,
        expires_at: Timestamp(NOW.0 + 86_400_000),
        input: json!({"zebra": 1, "ant": {"b": [1.5, null], "a": "ü"}})
            .as_object()
            .cloned()
            .unwrap_or_default()
            .into(),
        user_id: None,
        session_id: None,
        metadata: BTreeMap::new(),
        files: Vec::new(),
        retry_of: None,
        origin: runyard_runs::Origin::Key,
    }
}

/// The record of a run that was just created and is due a minute later.
pub fn record() -> Record {
    Record {
        upto: 0,
        status: RunStatus::Created,
        unanswered: false,
        ended_at: None,
        owner: None,
        due: Some(Timestamp(NOW.0 + 60_000)),
        attempts: 0,
        attempts_at: 0,
        rev: 0,
    }
}

/// An entry with these events. Its state is that of a new run after them.
pub fn entry(run: RunId, first: Sequence, writer: ClaimId, events: Vec<EventBody>) -> Entry {
    let events: Vec<_> = events.into_iter().map(Logged::from).collect();
    let state = LogState::default().after(writer, first, NOW, &events);
    Entry { run, first, version: ENTRY_VERSION, writer, nonce: first, at: NOW, state, events }
}

/// An entry with `count` checkpoints, the first of which has a journal of about `bytes` bytes.
pub fn checkpoints(run: RunId, first: Sequence, writer: ClaimId, count: usize, bytes: usize) -> Entry {
    let mut entry = entry(run, first, writer, vec![EventBody::RunCheckpoint; count]);
    entry.events[0].key = Some(format!("step {first}"));
    entry.events[0].journal = Some(json!({"text": "x".repeat(bytes), "number": 0.1}));
    entry
}

/// The change of the record that belongs to an entry with a terminal event.
pub fn ended(entry: &Entry) -> RecordChange {
    RecordChange {
        upto: Some(entry.last()),
        status: Some(entry.state.status),
        unanswered: Some(false),
        ended_at: Some(entry.at),
        owner: Field::Clear,
        due: Field::Clear,
        attempts: None,
    }
}

/// Runs `count` futures from `make` concurrently, each in a task.
pub async fn at_once<T, F>(count: usize, mut make: impl FnMut(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|index| tokio::spawn(make(index))).collect();
    let mut done = Vec::with_capacity(count);
    for task in tasks {
        done.push(task.await.expect("no task panics"));
    }
    done
}
