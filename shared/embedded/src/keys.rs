//! Access keys.

use crate::{database::Fault, embedded::Home};
use async_trait::async_trait;
use runyard_runs::{
    AccessKey, Credential, Ids, KeyStore, OrganizationId, ProjectId, Scope, StoreError, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a key is answered from memory.
const REMEMBERED: Duration = Duration::from_secs(15);

/// Keys that are cached.
const CAPACITY: usize = 1024;

/// [`KeyStore`] on SQLite, and what an operator does with keys.
pub struct Keys {
    home: Arc<Home>,
    /// Keys that exist. That one does not is never remembered: it may be made the next moment.
    known: Mutex<HashMap<String, (Instant, AccessKey)>>,
}

impl Keys {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home, known: Mutex::default() }
    }

    /// Makes a key and stores what is stored of it. The credential is known to the caller only.
    pub async fn create(
        &self,
        ids: &dyn Ids,
        scope: Scope,
        expires_at: Option<Timestamp>,
    ) -> Result<(Credential, AccessKey), StoreError> {
        let (credential, key) = Credential::generate(ids, scope, self.home.clock.now(), expires_at);
        let stored = key.clone();
        self.home.database.write(move |connection| insert(connection, &stored)).await?;
        Ok((credential, key))
    }

    /// All keys, the oldest first.
    pub async fn list(&self) -> Result<Vec<AccessKey>, StoreError> {
        let work = |connection: &Connection| {
            let mut statement = connection.prepare(&format!("{SELECT} ORDER BY created_at, id"))?;
            let keys = statement.query_map((), key)?.collect::<Result<_, _>>()?;
            Ok(keys)
        };
        self.home.database.read(work).await
    }

    /// Revokes a key, at the latest 15 s later in other processes; gives whether there is one with this public part.
    pub async fn revoke(&self, id: &str) -> Result<bool, StoreError> {
        let (key, now) = (id.to_owned(), self.home.clock.now());
        let work = move |connection: &Connection| {
            let sql = "UPDATE access_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
            Ok(connection.execute(sql, params![key, now.0])? > 0)
        };
        let found = self.home.database.write(work).await?;
        self.lock().remove(id);
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, AccessKey)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyStore for Keys {
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        if let Some((since, key)) = self.lock().get(id)
            && since.elapsed() < REMEMBERED
        {
            return Ok(Some(key.clone()));
        }
        let asked = Instant::now();
        let wanted = id.to_owned();
        let work = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
            Ok(statement.query_row([wanted], key).optional()?)
        };
        let found = self.home.database.read(work).await?;
        let mut known = self.lock();
        match &found {
            Some(key) => {
                if known.len() >= CAPACITY {
                    known.clear();
                }
                known.insert(id.to_owned(), (asked, key.clone()));
            }
            None => {
                known.remove(id);
            }
        }
        Ok(found)
    }
}

const SELECT: &str =
    "SELECT id, hash, organization, project, created_at, expires_at, revoked_at FROM access_keys";

fn insert(connection: &Connection, key: &AccessKey) -> Result<(), Fault> {
    connection.execute(
        "INSERT INTO access_keys (id, hash, organization, project, created_at, expires_at, revoked_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            key.id,
            key.hash,
            key.scope.organization.0,
            key.scope.project.map(|project| project.0),
            key.created_at.0,
            key.expires_at.map(|time| time.0),
            key.revoked_at.map(|time| time.0),
        ],
    )?;
    Ok(())
}

fn key(row: &Row<'_>) -> Result<AccessKey, rusqlite::Error> {
    Ok(AccessKey {
        id: row.get(0)?,
        hash: row.get(1)?,
        scope: Scope {
            organization: OrganizationId(row.get(2)?),
            project: row.get::<_, Option<_>>(3)?.map(ProjectId),
        },
        created_at: Timestamp(row.get(4)?),
        expires_at: row.get::<_, Option<_>>(5)?.map(Timestamp),
        revoked_at: row.get::<_, Option<_>>(6)?.map(Timestamp),
    })
}
