//! The table: its keys, indexes and expiry. The template and the tests must match this definition.
//!
//! | `PK` | `SK` | item |
//! | --- | --- | --- |
//! | `RUN#<run>` | `LOG#<first sequence, 12 digits>` | an entry of the run's log |
//! | `RUN#<run>` | `RUN` | its record, with its parameters (input, version, metadata, files) if both fit into 1 KiB |
//! | `RUN#<run>` | `RUN#INPUT` | its parameters, if not |
//! | `IDEM#<hash>` | `IDEM` | an idempotency key |
//! | `FILE#<file>` | `FILE` | the attributes of a file |
//! | `MEMORY#<hash>` | `TURN#<time>#<turn>` | the messages of one run of an agent |
//! | `STREAMS#<app>` | `OPENED#<quarter of an hour>` | number of streams that were opened in it and are still open |
//! | `STORED#<app>` | `DAY#<day since 1970, 6 digits>` | number of bytes of an app that expire on that day |
//! | `KEY#<key id>` | `KEY` | an access key |
//! | `KEYS` | `KEY#<key id>` | a copy of it, for lists |
//! | `APP#<app>` | `APP#<version>` | a version of an app |
//! | `APPS` | `APP#<app>` | which version is current, and the app's hosts |
//! | `HOST#<host>`, `HOST#<name>.*` | `HOST` | the app on a host, and its current version |
//!
//! A run's items sort so that one query backward returns its parameters, its record and its last entry.
//!
//! The indexes contain records only. Their keys are bytes: with [`LISTED`] and the keys of the table, a row takes about
//! 111 bytes, so that one query, which reads 1 MiB, counts about 9,400 runs.

use runyard_runs::{AppId, MemoryScope, RunId, Sequence, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

/// The partition key: a string.
pub const PK: &str = "PK";

/// The sort key: a string.
pub const SK: &str = "SK";

/// When DynamoDB may delete the item, in seconds since 1970. It deletes late, so readers check this too.
pub const TTL: &str = "ttl";

/// How long items stay after their run expires: the sweeper ends the run then, and no item of a live run may be deleted.
pub const LINGER: Duration = Duration::from_hours(24);

/// An index over records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// Its partition key, and its type.
    pub hash: (&'static str, &'static str),
    /// Its sort key, and its type.
    pub range: (&'static str, &'static str),
    /// The other attributes that it contains.
    pub holds: &'static [&'static str],
}

/// The attributes of a run in the indexes for lists: status, whether an input request is unanswered, the first sequence
/// of the last entry that changed either, whether a `RUN#INPUT` exists, hashes of the metadata, time of deletion.
pub const LISTED: [&str; 6] = ["st", "un", "tail", "input", "labels", TTL];

/// The runs of an app by time: `app` is [`app_key`], `at` is [`at_key`].
pub const BY_APP: Index = Index { name: "by_app", hash: ("app", "B"), range: ("at", "B"), holds: &LISTED };

/// The runs of an app's user by time: `user` is [`user_key`]. Sparse.
pub const BY_USER: Index = Index { name: "by_user", hash: ("user", "B"), range: ("at", "B"), holds: &LISTED };

/// The runs of an app's session by time: `session` is [`session_key`]. Sparse.
pub const BY_SESSION: Index = Index {
    name: "by_session",
    hash: ("session", "B"),
    range: ("at", "B"),
    holds: &["st", "un", "tail", "input", "labels", TTL, "user"],
};

/// The runs that are due, by time. Sparse: a record without `due` is not in it.
pub const BY_DUE: Index =
    Index { name: "by_due", hash: ("due_shard", "N"), range: ("due", "N"), holds: &["app"] };

/// All indexes of the table.
pub const INDEXES: [Index; 4] = [BY_APP, BY_USER, BY_SESSION, BY_DUE];

/// Number of partition keys over which due runs are spread; each takes about 500 new runs per second. Never lower it.
pub const DUE_SHARDS: u8 = 8;

/// The partition key of a run.
pub fn run_pk(run: RunId) -> String {
    format!("RUN#{run}")
}

/// The run of a partition key.
pub(crate) fn run_of(pk: &str) -> Option<RunId> {
    pk.strip_prefix("RUN#")?.parse().ok()
}

/// The sort key of a run's record.
pub const RUN_SK: &str = "RUN";

/// The sort key of a run's parameters, where they do not fit into the record.
pub const INPUT_SK: &str = "RUN#INPUT";

/// The sort key of the entry whose first event has this sequence.
pub fn log_sk(first: Sequence) -> String {
    format!("LOG#{first:012}")
}

/// The sequence of the first event of the entry with this sort key.
pub(crate) fn first_of(sk: &str) -> Option<Sequence> {
    sk.strip_prefix("LOG#")?.parse().ok()
}

/// The partition key of an idempotency key.
pub fn idempotency_pk(key: &[u8; 32]) -> String {
    use std::fmt::Write;
    key.iter().fold("IDEM#".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The partition key of a conversation: a hash, since callers' ids of users and sessions have any length, and are
/// private.
pub fn memory_pk(scope: &MemoryScope) -> String {
    use std::fmt::Write;
    let part = |text: &Option<String>| match text {
        Some(text) => [&[1], text.as_bytes()].concat(),
        None => vec![0],
    };
    let (agent, user, session) = (scope.agent.as_bytes(), part(&scope.user_id), part(&scope.session_id));
    let mut hash = Sha256::new();
    for part in [&b"memory"[..], scope.app.0.as_bytes(), agent, &user, &session] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold("MEMORY#".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The sort key of a run in order of time: its creation in milliseconds, 6 bytes, then its id, 16 bytes.
pub fn at_key(created_at: Timestamp, run: RunId) -> [u8; 22] {
    let mut key = [0; 22];
    // Years 1970 to 10889; other times sort first or last.
    let millis = created_at.0.clamp(0, (1 << 48) - 1);
    key[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    key[6..].copy_from_slice(run.0.as_bytes());
    key
}

/// The run of such a sort key.
pub(crate) fn run_at(at: &[u8; 22]) -> Option<RunId> {
    Uuid::from_slice(&at[6..]).ok().map(RunId)
}

/// The index key of one shard of an app's runs: the app's id, 16 bytes, then the shard.
pub fn app_key(app: AppId, shard: u8) -> [u8; 17] {
    let mut key = [shard; 17];
    key[..16].copy_from_slice(app.0.as_bytes());
    key
}

/// The shard of a run, from 0 to `shards` - 1.
pub(crate) fn shard_of(run: RunId, shards: u8) -> u8 {
    run.0.as_bytes()[15] % shards.max(1)
}

/// The index key of a user of an app: half a hash, since callers' ids of users have any length, and are private.
pub fn user_key(app: AppId, user_id: &str) -> [u8; 16] {
    half_hash(&[b"user", app.0.as_bytes(), user_id.as_bytes()])
}

/// The index key of a session of an app: half a hash.
pub fn session_key(app: AppId, session_id: Uuid) -> [u8; 16] {
    half_hash(&[b"session", app.0.as_bytes(), session_id.as_bytes()])
}

/// Identifies a metadata entry: a quarter of a hash, which is enough to tell a run's 16 entries from all others.
pub fn label_key(key: &str, value: &str) -> [u8; 8] {
    let hash = half_hash(&[b"label", key.as_bytes(), &[0], value.as_bytes()]);
    let mut label = [0; 8];
    label.copy_from_slice(&hash[..8]);
    label
}

fn half_hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

/// The table in the format of `CloudFormation` (`Properties` of `AWS::DynamoDB::Table`): keys, indexes, expiry.
/// `CreateTable` takes the same, except `TimeToLiveSpecification`.
pub fn definition() -> Value {
    let mut attributes = vec![(PK, "S"), (SK, "S")];
    for index in INDEXES {
        for attribute in [index.hash, index.range] {
            if !attributes.contains(&attribute) {
                attributes.push(attribute);
            }
        }
    }
    let keys = |hash, range| json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}]);
    let attribute = |(name, kind)| json!({"AttributeName": name, "AttributeType": kind});
    let index = |index: Index| {
        json!({
            "IndexName": index.name,
            "KeySchema": keys(index.hash.0, index.range.0),
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": index.holds},
        })
    };
    json!({
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes.into_iter().map(attribute).collect::<Vec<_>>(),
        "KeySchema": keys(PK, SK),
        "GlobalSecondaryIndexes": INDEXES.map(index),
        "TimeToLiveSpecification": {"AttributeName": TTL, "Enabled": true},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_time_and_sequence() {
        let run = |number| RunId(Uuid::from_u128(number));
        let at = |millis, number| at_key(Timestamp(millis), run(number));
        let sorted = [at(-1, 5), at(1, 9), at(255, u128::MAX), at(256, 0), at(256, 1), at(i64::MAX, 0)];
        assert!(sorted.is_sorted());
        assert_eq!(run_at(&at(7, 8)), Some(run(8)));
        assert!(log_sk(9) < log_sk(10) && RUN_SK < INPUT_SK);
        assert!(log_sk(999_999_999_999).as_str() < RUN_SK);
        assert_eq!(first_of(&log_sk(12)), Some(12));
        assert_eq!(run_of(&run_pk(run(3))), Some(run(3)));
    }

    #[test]
    fn different_keys_have_different_hashes() {
        let [app, other] = [AppId(Uuid::from_u128(1)), AppId(Uuid::from_u128(2))];
        assert_ne!(user_key(app, "ann"), user_key(other, "ann"));
        assert_ne!(user_key(app, "ann"), user_key(app, ""));
        assert_ne!(label_key("a", "bc"), label_key("ab", "c"));
    }
}
