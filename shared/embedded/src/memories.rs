//! The memory of agents.

use crate::{database::Fault, embedded::Shared, usage::Tally};
use async_trait::async_trait;
use runyard_runs::{MemoryScope, MemoryStore, MemoryTurn, StoreError};
use rusqlite::{Connection, params};
use std::sync::Arc;

/// [`MemoryStore`] on SQLite. Expired turns are removed together with expired runs.
pub struct Memories {
    home: Arc<Shared>,
}

impl Memories {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home }
    }
}

#[async_trait]
impl MemoryStore for Memories {
    async fn recent(&self, scope: &MemoryScope, messages: usize) -> Result<Vec<MemoryTurn>, StoreError> {
        let (scope, now) = (scope_key(scope)?, self.home.clock.now());
        let work = move |connection: &Connection| {
            let sql =
                "SELECT turn FROM memories WHERE scope = ?1 AND expires_at > ?2 ORDER BY at DESC, id DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![scope, now.0])?;
            let (mut turns, mut count) = (Vec::new(), 0);
            while count < messages
                && let Some(row) = rows.next()?
            {
                let turn: MemoryTurn = serde_json::from_str(row.get_ref(0)?.as_str().unwrap_or_default())?;
                count += turn.messages.len();
                turns.push(turn);
            }
            turns.reverse();
            Ok(turns)
        };
        self.home.database.read(work).await
    }

    async fn keep(&self, scope: &MemoryScope, turn: MemoryTurn) -> Result<(), StoreError> {
        let (app, scope) = (scope.app, scope_key(scope)?);
        let content = serde_json::to_string(&turn).map_err(Fault::from)?;
        let work = move |connection: &Connection, tally: &mut Tally| {
            let kept = connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO memories (scope, at, id, expires_at, turn) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![scope, turn.at.0, turn.id(), turn.expires_at.0, content])?;
            if kept > 0 {
                tally.add_record(app, turn.expires_at, content.len() as u64);
            }
            Ok(())
        };
        self.home.database.write_then(work, |()| ()).await
    }
}

/// The key of a scope in the database: the scope as JSON.
fn scope_key(scope: &MemoryScope) -> Result<String, StoreError> {
    Ok(serde_json::to_string(scope).map_err(Fault::from)?)
}
