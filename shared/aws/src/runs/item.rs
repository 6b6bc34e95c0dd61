//! The format of runs, records and entries in items.

use super::facts::Facts;
use crate::table::{self, PK, SK, TTL};
use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use runyard_runs::{
    AppId, ENTRY_VERSION, Entry, File, NewRun, Origin, Record, RunId, RunStatus, Sequence, StoreError,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    sync::Arc,
};
use uuid::Uuid;

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn number(number: impl Display + Copy) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// The number by which a status is stored. Must never change.
pub(super) fn status_code(status: RunStatus) -> u8 {
    match status {
        RunStatus::Created => 0,
        RunStatus::Started => 1,
        RunStatus::Paused => 2,
        RunStatus::Completed => 3,
        RunStatus::Failed => 4,
        RunStatus::Canceled => 5,
    }
}

fn status_of(code: u8) -> Option<RunStatus> {
    use RunStatus::{Canceled, Completed, Created, Failed, Paused, Started};
    [Created, Started, Paused, Completed, Failed, Canceled].get(usize::from(code)).copied()
}

/// The key of an item.
pub(super) fn key(run: RunId, sk: &str) -> Item {
    [(PK.to_owned(), text(table::run_pk(run))), (SK.to_owned(), text(sk))].into()
}

/// The parameters of a run that its record does not contain.
#[derive(Serialize)]
struct ParametersRef<'a> {
    #[serde(rename = "v")]
    version: &'a str,
    #[serde(rename = "i")]
    input: &'a Map<String, Value>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    session_id: Option<Uuid>,
    #[serde(rename = "m", skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(rename = "f", skip_serializing_if = "<[File]>::is_empty")]
    files: &'a [File],
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    retry_of: Option<RunId>,
    #[serde(rename = "o", skip_serializing_if = "Origin::is_key")]
    origin: Origin,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "v")]
    version: String,
    #[serde(rename = "i")]
    input: Arc<Map<String, Value>>,
    #[serde(default, rename = "u")]
    user_id: Option<String>,
    #[serde(default, rename = "s")]
    session_id: Option<Uuid>,
    #[serde(default, rename = "m")]
    metadata: BTreeMap<String, String>,
    #[serde(default, rename = "f")]
    files: Vec<File>,
    #[serde(default, rename = "r")]
    retry_of: Option<RunId>,
    #[serde(default, rename = "o")]
    origin: Origin,
}

/// The parameters of a run that its record does not contain, as JSON.
pub(super) fn asked(run: &NewRun) -> Result<String, StoreError> {
    json(&ParametersRef {
        version: &run.app_version,
        input: &run.input,
        user_id: run.user_id.as_deref(),
        session_id: run.session_id,
        metadata: &run.metadata,
        files: &run.files,
        retry_of: run.retry_of,
        origin: run.origin,
    })
}

/// A run from the JSON of its parameters and its record.
pub(super) fn new_run(stored: &Stored, json: &str) -> Result<NewRun, StoreError> {
    let parameters: Parameters =
        serde_json::from_str(json).map_err(|error| StoreError::Failed(error.into()))?;
    Ok(NewRun {
        id: stored.run,
        app: stored.facts.app,
        app_version: parameters.version,
        created_at: stored.facts.created_at,
        expires_at: stored.facts.expires_at,
        input: parameters.input,
        user_id: parameters.user_id,
        session_id: parameters.session_id,
        metadata: parameters.metadata,
        files: parameters.files,
        retry_of: parameters.retry_of,
        origin: parameters.origin,
    })
}

/// An entry as JSON.
pub(super) fn entry_json(entry: &Entry) -> Result<String, StoreError> {
    json(entry)
}

/// An entry from its JSON.
pub(super) fn entry_of(run: RunId, first: Sequence, json: &str) -> Result<Entry, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let mut entry: Entry = match serde_json::from_str(json) {
        Ok(entry) => entry,
        // An entry of a later release may have another format: then an error about its version is clearer.
        Err(error) => {
            return Err(match serde_json::from_str(json) {
                Ok(Version { v }) if v > ENTRY_VERSION => too_new(v),
                _ => StoreError::Failed(error.into()),
            });
        }
    };
    if entry.version > ENTRY_VERSION {
        return Err(too_new(entry.version));
    }
    entry.run = run;
    entry.first = first;
    Ok(entry)
}

fn too_new(version: u32) -> StoreError {
    let text = format!("a log entry has version {version}, and this release supports up to {ENTRY_VERSION}");
    StoreError::Failed(text.into())
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.into()))
}

/// JSON that is stored in an item, or in the bucket if it is too large.
pub(super) enum Body {
    /// In an attribute.
    Inline(String),
    /// In the bucket: its key, and the size of the JSON in bytes.
    Object { key: String, size: usize },
}

const BODY: &str = "body";
const OBJECT: &str = "object";
const SIZE: &str = "size";

impl Body {
    pub(super) fn put(self, item: &mut Item) {
        match self {
            Self::Inline(json) => {
                item.insert(BODY.to_owned(), text(json));
            }
            Self::Object { key, size } => {
                item.insert(OBJECT.to_owned(), text(key));
                item.insert(SIZE.to_owned(), number(size));
            }
        }
    }

    pub(super) fn take(item: &mut Item) -> Option<Self> {
        match (item.remove(BODY), item.remove(OBJECT)) {
            (Some(AttributeValue::S(json)), _) => Some(Self::Inline(json)),
            (_, Some(AttributeValue::S(key))) => {
                Some(Self::Object { key, size: number_of(item, SIZE).unwrap_or(0) })
            }
            _ => None,
        }
    }

    /// The size of the JSON in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Inline(json) => json.len(),
            Self::Object { size, .. } => *size,
        }
    }
}

/// The size of an item's JSON in bytes, in the item or in the bucket.
pub(super) fn body_size(item: &Item) -> usize {
    text_of(item, BODY).map_or_else(|| number_of(item, SIZE).unwrap_or(0), str::len)
}

/// The item of a new record, without the run's parameters.
pub(super) fn record_item(run: &NewRun, record: &Record, facts: &Facts, shards: u8) -> Item {
    let mut item = key(run.id, table::RUN_SK);
    let mut put = |name: &str, value| {
        item.insert(name.to_owned(), value);
    };
    let app_key = table::app_key(run.app, table::shard_of(run.id, shards));
    put("app", bytes(&app_key));
    put("at", bytes(&table::at_key(run.created_at, run.id)));
    if let Some(user) = &run.user_id {
        put("user", bytes(&table::user_key(run.app, user)));
    }
    if let Some(session) = run.session_id {
        put("session", bytes(&table::session_key(run.app, session)));
    }
    let mut labels: Vec<_> = run.metadata.iter().map(|(key, value)| table::label_key(key, value)).collect();
    labels.sort_unstable();
    labels.dedup();
    if !labels.is_empty() {
        put("labels", AttributeValue::Bs(labels.iter().map(Blob::new).collect()));
    }
    put("created_at", number(run.created_at.0));
    put("expires_at", number(run.expires_at.0));
    put(TTL, number(facts.ttl()));
    put("upto", number(record.upto));
    put("st", number(status_code(record.status)));
    if record.unanswered {
        put("un", AttributeValue::Bool(true));
    }
    if let Some(at) = record.ended_at {
        put("ended_at", number(at.0));
    }
    if let Some(owner) = record.owner {
        put("owner", text(owner.to_string()));
    }
    if let Some(due) = record.due {
        put("due", number(due.0));
    }
    put("due_shard", number(table::shard_of(run.id, table::DUE_SHARDS)));
    put("attempts", number(record.attempts));
    put("attempts_at", number(record.attempts_at));
    put("rev", number(record.rev));
    item
}

/// A record as stored in the table.
pub(super) struct Stored {
    pub(super) run: RunId,
    pub(super) facts: Facts,
    pub(super) record: Record,
    /// The first sequence of the last entry that was written together with the record; 0 if there is none.
    pub(super) tail: Sequence,
    /// The run's parameters, unless they are in a separate item.
    pub(super) body: Option<Body>,
}

impl Stored {
    pub(super) fn read(mut item: Item) -> Result<Self, StoreError> {
        let body = Body::take(&mut item);
        let run = text_of(&item, PK).and_then(table::run_of);
        Self::parse(&item, run, body).ok_or_else(|| {
            StoreError::Failed(format!("the record of {run:?} in the table has an unknown format").into())
        })
    }

    fn parse(item: &Item, run: Option<RunId>, body: Option<Body>) -> Option<Self> {
        let created_at = Timestamp(number_of(item, "created_at")?);
        let expires_at = Timestamp(number_of(item, "expires_at")?);
        let owner = match item.get("owner") {
            Some(owner) => Some(owner.as_s().ok()?.parse().ok()?),
            None => None,
        };
        let record = Record {
            upto: number_of(item, "upto")?,
            status: status_of(number_of(item, "st")?)?,
            unanswered: item.contains_key("un"),
            ended_at: number_of(item, "ended_at").map(Timestamp),
            owner,
            due: number_of(item, "due").map(Timestamp),
            attempts: number_of(item, "attempts")?,
            attempts_at: number_of(item, "attempts_at")?,
            rev: number_of(item, "rev")?,
        };
        let facts = Facts { app: app_of(item)?, created_at, expires_at };
        Some(Self { run: run?, facts, record, tail: number_of(item, "tail").unwrap_or(0), body })
    }
}

/// The app of a record, or of a row of an index.
pub(super) fn app_of(item: &Item) -> Option<AppId> {
    let key = item.get("app")?.as_b().ok()?;
    Uuid::from_slice(key.as_ref().get(..16)?).ok().map(AppId)
}

pub(super) fn text_of<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn number_of<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The approximate size of an item as DynamoDB counts it, in bytes: names and values.
pub(super) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 2,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::Bs(blobs) => blobs.iter().map(|blob| blob.as_ref().len()).sum(),
        _ => 1,
    }
}
