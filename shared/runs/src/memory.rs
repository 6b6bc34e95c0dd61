//! The memory of agents: earlier turns of a conversation, and the port that keeps them.

use crate::{AppId, Clock, RunId, StoreError, SystemClock, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Identifies a conversation: one user's session with one agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryScope {
    /// The app that the agent belongs to.
    pub app: AppId,
    /// The id of the agent's node.
    pub agent: String,
    /// The caller's own identifier of its user, if given.
    pub user_id: Option<String>,
    /// The session, if given.
    pub session_id: Option<String>,
}

/// The messages of one run of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryTurn {
    /// The run.
    pub run: RunId,
    /// The agent's name in the run's journal: it may run several times.
    pub node: String,
    /// When the run was created: turns are sorted by it, then by id.
    pub at: Timestamp,
    /// When it expires, with everything else of the run.
    pub expires_at: Timestamp,
    /// The messages, in the shape of the chat completions API.
    pub messages: Vec<Value>,
}

impl MemoryTurn {
    /// Unique in its conversation, and the same when the run is executed again.
    pub fn id(&self) -> String {
        format!("{}:{}", self.run, self.node)
    }
}

/// Keeps the memory of agents.
///
/// Promises: a turn that was kept is in all later reads until it expires.
#[async_trait]
pub trait MemoryStore: Send + Sync + 'static {
    /// Returns the newest turns of a conversation, oldest first: as few as together hold `messages` messages, or all.
    async fn recent(&self, scope: &MemoryScope, messages: usize) -> Result<Vec<MemoryTurn>, StoreError>;

    /// Keeps a turn, unless one with the same id is already kept.
    async fn keep(&self, scope: &MemoryScope, turn: MemoryTurn) -> Result<(), StoreError>;
}

/// Keeps the newest turns of the newest conversations in memory: they are lost when the process ends.
#[derive(Debug, Default)]
pub struct ProcessMemory {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    turns: HashMap<MemoryScope, VecDeque<MemoryTurn>>,
    /// Ordered by when a turn was last kept, oldest first.
    order: VecDeque<MemoryScope>,
}

/// Maximum numbers of conversations, and of turns of each, that a process keeps.
const MAX_SCOPES: usize = 1_000;
const MAX_TURNS: usize = 100;

#[async_trait]
impl MemoryStore for ProcessMemory {
    async fn recent(&self, scope: &MemoryScope, messages: usize) -> Result<Vec<MemoryTurn>, StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest = VecDeque::new();
        let mut count = 0;
        let now = SystemClock.now();
        let turns = kept.turns.get(scope).into_iter().flatten();
        for turn in turns.filter(|turn| turn.expires_at > now).rev() {
            if count >= messages {
                break;
            }
            count += turn.messages.len();
            newest.push_front(turn.clone());
        }
        Ok(newest.into())
    }

    async fn keep(&self, scope: &MemoryScope, turn: MemoryTurn) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = kept.turns.entry(scope.clone()).or_default();
        if turns.iter().any(|known| known.id() == turn.id()) {
            return Ok(());
        }
        let index = turns.partition_point(|known| (known.at, known.id()) <= (turn.at, turn.id()));
        turns.insert(index, turn);
        if turns.len() > MAX_TURNS {
            turns.pop_front();
        }
        kept.order.retain(|known| known != scope);
        kept.order.push_back(scope.clone());
        if kept.order.len() > MAX_SCOPES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.turns.remove(&oldest);
        }
        Ok(())
    }
}
