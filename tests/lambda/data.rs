//! Runs in a data directory that is shared by functions.

use crate::runtime;
use runyard_embedded::{Apps, Embedded, Options};
use runyard_runs::{
    AppStore, Clock, Ids, NewRun, Record, RunId, RunStatus, RunStore, SystemClock, SystemIds,
};
use serde_json::json;
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

/// Opens the backend, as another function does.
pub(crate) fn store(data: &Path) -> Embedded {
    Embedded::open(data, Arc::new(SystemClock), &SystemIds, Options::default()).unwrap()
}

/// Creates a run of `echo` as `api` does, due after `due`.
pub(crate) async fn created(store: &Embedded, due: Duration) -> RunId {
    let (apps, errors) = Apps::open(&runtime::root().join("apps"), store, Some("echo".to_owned())).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    let app = apps.by_host("").await.unwrap().unwrap();
    let now = SystemClock.now();
    let new = NewRun {
        id: RunId(SystemIds.ordered()),
        app: app.id,
        app_version: app.version.clone(),
        created_at: now,
        expires_at: now + app.lifetime(),
        input: json!({ "message": "hello" }).as_object().unwrap().clone().into(),
        user_id: None,
        session_id: None,
        metadata: BTreeMap::new(),
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
        due: Some(now + due),
        attempts: 0,
        attempts_at: 0,
        rev: 0,
    };
    store.runs().create(&new, &record).await.unwrap();
    new.id
}
