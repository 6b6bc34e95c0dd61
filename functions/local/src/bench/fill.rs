//! Stores runs that have ended, directly through the port `RunStore`: without server and engine.

use crate::plug::Data;
use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use runyard_runs::{
    App, Append, ClaimId, Create, ENTRY_VERSION, Entry, EventBody, Field, Guard, Ids, LogState, Logged,
    NewRun, Record, RecordChange, RunError, RunId, RunStatus, RunStore, SystemIds, Timestamp,
};
use serde_json::{Map, json};
use std::{sync::Arc, time::Duration};

/// Concurrent writes, which share an fsync.
const CONCURRENT_WRITES: usize = 512;
/// Number of users that the runs are spread over.
pub(super) const USERS: u64 = 1000;
/// One run in this many has failed.
pub(super) const FAILED: u64 = 50;

/// Stores `count` runs of the app, created 100 ms apart in the past. Shows progress on stderr.
pub(super) async fn fill(data: &Data, app: &App, count: u64) -> Result<()> {
    let store = data.runs();
    let now = data.now();
    let done = std::sync::atomic::AtomicU64::new(0);
    stream::iter(0..count)
        .map(|number| {
            let store = Arc::clone(&store);
            let done = &done;
            async move {
                let created_at = now - Duration::from_millis((count - number) * 100);
                store_one(&*store, app, number, created_at).await?;
                let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                if done.is_multiple_of(50_000) {
                    anstream::eprintln!("stored {done} of {count} runs");
                }
                Ok::<_, anyhow::Error>(())
            }
        })
        .buffer_unordered(CONCURRENT_WRITES)
        .try_collect::<()>()
        .await
}

async fn store_one(store: &dyn RunStore, app: &App, number: u64, created_at: Timestamp) -> Result<()> {
    let mut input = Map::new();
    input.insert("message".to_owned(), json!(format!("message {number}")));
    let new = NewRun {
        id: RunId(SystemIds.ordered()),
        app: app.id,
        app_version: app.version.clone(),
        created_at,
        expires_at: created_at + app.lifetime(),
        input: input.into(),
        user_id: Some(format!("user-{}", number % USERS)),
        session_id: None,
        metadata: std::collections::BTreeMap::new(),
        files: Vec::new(),
        retry_of: None,
        origin: runyard_runs::Origin::Key,
    };
    let record = Record {
        upto: 0,
        status: RunStatus::Created,
        unanswered: false,
        ended_at: None,
        owner: None,
        due: Some(created_at),
        attempts: 0,
        attempts_at: 0,
        rev: 0,
    };
    if store.create(&new, &record).await? != Create::Done {
        bail!("a run with this id exists already");
    }
    let end = if number.is_multiple_of(FAILED) {
        EventBody::RunFailed { error: RunError::new("node_failed", "the node failed") }
    } else {
        EventBody::RunCompleted { output: json!({ "message": format!("message {number}") }).into() }
    };
    let events: Vec<Logged> = vec![EventBody::RunStarted.into(), end.into()];
    let writer = ClaimId(SystemIds.random());
    let ended_at = created_at + Duration::from_millis(3);
    let entry = Entry {
        run: new.id,
        first: 1,
        version: ENTRY_VERSION,
        writer,
        nonce: 0,
        at: ended_at,
        state: LogState::default().after(writer, 1, ended_at, &events),
        events,
    };
    let change = RecordChange {
        upto: Some(2),
        status: Some(entry.state.status),
        unanswered: Some(false),
        ended_at: Some(ended_at),
        owner: Field::Clear,
        due: Field::Clear,
        attempts: None,
    };
    let appended = store.commit(&entry, &change, &Guard::Always).await.context("cannot store a run")?;
    if appended != Append::Done {
        bail!("the store refused a run's entry");
    }
    Ok(())
}
