//! What agents remember of a conversation, and the port that keeps it.

use crate::{AppId, Clock, RunId, StoreError, SystemClock, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Whose conversation with which agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryScope {
    /// The app.
    pub app: AppId,
    /// The agent's node.
    pub agent: String,
    /// The user.
    pub user_id: Option<String>,
    /// The session.
    pub session_id: Option<String>,
}

/// What was said in one run of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryTurn {
    /// The run.
    pub run: RunId,
    /// The agent's name in the run's journal: it may run several times.
    pub node: String,
    /// When the run was created: turns are in this order, then by id.
    pub at: Timestamp,
    /// From then on it is forgotten: when everything of the run is.
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

/// Keeps what agents remember.
///
/// Promises: a turn that was kept is in what is read after that, until it expires.
#[async_trait]
pub trait MemoryStore: Send + Sync + 'static {
    /// The newest turns of a conversation, oldest first: as few as hold `messages` messages together, or all.
    async fn recent(&self, scope: &MemoryScope, messages: usize) -> Result<Vec<MemoryTurn>, StoreError>;

    /// Keeps a turn, unless one with its id is kept already.
    async fn keep(&self, scope: &MemoryScope, turn: MemoryTurn) -> Result<(), StoreError>;
}

/// Keeps the newest turns of the newest conversations in this process, and forgets them with it.
#[derive(Debug, Default)]
pub struct ProcessMemory {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    turns: HashMap<MemoryScope, VecDeque<MemoryTurn>>,
    /// By when something was kept last, oldest first.
    order: VecDeque<MemoryScope>,
}

/// Conversations, and turns of each, that a process keeps.
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
        let place = turns.partition_point(|known| (known.at, known.id()) <= (turn.at, turn.id()));
        turns.insert(place, turn);
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
