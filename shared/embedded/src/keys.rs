//! Access keys.

use crate::{database::Fault, embedded::Shared};
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

/// How long a key is cached.
const CACHE_TTL: Duration = Duration::from_secs(15);

/// Maximum number of cached keys.
const CAPACITY: usize = 1024;

/// [`KeyStore`] on SQLite, and an operator's operations on keys.
pub struct Keys {
    home: Arc<Shared>,
    /// Keys that exist. That a key does not exist is never cached: it may be created at any time.
    cached: Mutex<HashMap<String, (Instant, AccessKey)>>,
}

impl Keys {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home, cached: Mutex::default() }
    }

    /// Creates a key and stores it without its secret. Only the returned credential contains the secret.
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

    /// Returns all keys, oldest first.
    pub async fn list(&self) -> Result<Vec<AccessKey>, StoreError> {
        let work = |connection: &Connection| {
            let mut statement = connection.prepare(&format!("{SELECT} ORDER BY created_at, id"))?;
            let keys = statement.query_map((), key)?.collect::<Result<_, _>>()?;
            Ok(keys)
        };
        self.home.database.read(work).await
    }

    /// Revokes the key with this public part; other processes notice within 15 s. Returns whether the key exists.
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
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyStore for Keys {
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        if let Some((read_at, key)) = self.lock().get(id)
            && read_at.elapsed() < CACHE_TTL
        {
            return Ok(Some(key.clone()));
        }
        let read_at = Instant::now();
        let wanted = id.to_owned();
        let work = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
            Ok(statement.query_row([wanted], key).optional()?)
        };
        let found = self.home.database.read(work).await?;
        let mut cached = self.lock();
        match &found {
            Some(key) => {
                if cached.len() >= CAPACITY {
                    cached.clear();
                }
                cached.insert(id.to_owned(), (read_at, key.clone()));
            }
            None => {
                cached.remove(id);
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
