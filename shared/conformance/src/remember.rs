//! `MemoryStore`: returns the newest turns of a conversation, within a limit, and of no other conversation.

use crate::make;
use runyard_runs::{MemoryScope, MemoryStore, MemoryTurn, RunId, Timestamp};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

/// When the turns of a test expire: in the year 2286, because a store uses its own clock.
const LATER: Timestamp = Timestamp(9_999_999_999_000);

fn scope() -> MemoryScope {
    MemoryScope {
        app: make::app(),
        agent: "agent".to_owned(),
        user_id: Some("ü'\"".to_owned()),
        session_id: Some("s".to_owned()),
    }
}

/// A turn of two messages, `number` milliseconds after [`make::NOW`].
fn turn(number: i64) -> MemoryTurn {
    MemoryTurn {
        run: RunId(Uuid::from_u128(7)),
        node: format!("agent/{number}"),
        at: Timestamp(make::NOW.0 + number),
        expires_at: LATER,
        messages: vec![
            json!({"role": "user", "content": format!("question {number}")}),
            json!({"role": "assistant", "content": "answer", "tool_calls": [{"id": "1"}]}),
        ],
    }
}

/// The newest turns are returned, oldest first: the smallest number of turns with the requested number of messages.
pub async fn the_newest_are_remembered(store: Arc<dyn MemoryStore>) {
    let scope = scope();
    assert_eq!(store.recent(&scope, 10).await.unwrap(), []);
    // Runs do not end in the order in which they began.
    for number in [2, 1, 4, 3] {
        store.keep(&scope, turn(number)).await.unwrap();
    }
    assert_eq!(store.recent(&scope, 100).await.unwrap(), [turn(1), turn(2), turn(3), turn(4)]);
    assert_eq!(store.recent(&scope, 4).await.unwrap(), [turn(3), turn(4)]);
    assert_eq!(store.recent(&scope, 3).await.unwrap(), [turn(3), turn(4)]);
    assert_eq!(store.recent(&scope, 0).await.unwrap(), []);
}

/// Large turns are returned completely.
pub async fn long_turns_are_remembered(store: Arc<dyn MemoryStore>) {
    let scope = scope();
    let long =
        MemoryTurn { messages: vec![json!({"role": "user", "content": "ü".repeat(300_000)})], ..turn(1) };
    store.keep(&scope, long.clone()).await.unwrap();
    store.keep(&scope, turn(2)).await.unwrap();
    assert_eq!(store.recent(&scope, 10).await.unwrap(), [long, turn(2)]);
}

/// A run that is executed again does not store a turn twice.
pub async fn a_turn_is_kept_once(store: Arc<dyn MemoryStore>) {
    let scope = scope();
    for _ in 0..2 {
        store.keep(&scope, turn(1)).await.unwrap();
    }
    assert_eq!(store.recent(&scope, 10).await.unwrap(), [turn(1)]);
}

/// An expired turn is not returned.
pub async fn what_has_expired_is_forgotten(store: Arc<dyn MemoryStore>) {
    let scope = scope();
    let expired = MemoryTurn { expires_at: Timestamp(1), ..turn(2) };
    for turn in [turn(1), expired, turn(3)] {
        store.keep(&scope, turn).await.unwrap();
    }
    assert_eq!(store.recent(&scope, 10).await.unwrap(), [turn(1), turn(3)]);
    assert_eq!(store.recent(&scope, 4).await.unwrap(), [turn(1), turn(3)], "the expired turn does not count");
}

/// A turn is not returned to another user, session, agent or app.
pub async fn conversations_are_apart(store: Arc<dyn MemoryStore>) {
    let own = scope();
    store.keep(&own, turn(1)).await.unwrap();
    for other in [
        MemoryScope { app: make::app(), ..own.clone() },
        MemoryScope { agent: "other".to_owned(), ..own.clone() },
        MemoryScope { user_id: None, ..own.clone() },
        MemoryScope { session_id: Some("t".to_owned()), ..own.clone() },
    ] {
        assert_eq!(store.recent(&other, 10).await.unwrap(), [], "{other:?}");
    }
    assert_eq!(store.recent(&own, 10).await.unwrap(), [turn(1)]);
}
