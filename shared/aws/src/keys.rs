//! Access keys.
//!
//! ```text
//! KEY#<key id>, KEY        the key
//! KEYS, KEY#<key id>       a copy, so that operators can list keys; written in the same transaction
//! ```

use crate::{
    aws::Shared,
    cache::Cache,
    error::store_error,
    item::{Item, Reader, bytes, number, text},
};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use runyard_runs::{AccessKey, Credential, KeyStore, Scope, StoreError, Timestamp};
use std::sync::Arc;

/// Number of cached keys, and of cached ids of keys that do not exist.
const CAPACITY: usize = 4096;

/// [`KeyStore`] on DynamoDB, and the operator's commands on keys.
pub struct Keys {
    home: Arc<Shared>,
    known: Cache<String, AccessKey>,
}

impl Keys {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        let known = Cache::new(Arc::clone(&home.clock), CAPACITY);
        Self { home, known }
    }

    /// Creates a key and stores its hash. Only the caller has the credential.
    pub async fn create(
        &self,
        scope: Scope,
        expires_at: Option<Timestamp>,
    ) -> Result<(Credential, AccessKey), StoreError> {
        let (credential, key) =
            Credential::generate(&*self.home.ids, scope, self.home.clock.now(), expires_at);
        let put = |item_key: [&str; 2]| {
            let put = Put::builder()
                .table_name(&self.home.config.table)
                .set_item(Some(item(&key, item_key)))
                .condition_expression("attribute_not_exists(PK)")
                .build();
            put.map(|put| TransactWriteItem::builder().put(put).build()).map_err(built)
        };
        let partition = partition(&key.id);
        self.home
            .clients
            .dynamodb
            .transact_write_items()
            .transact_items(put([&partition, "KEY"])?)
            .transact_items(put(["KEYS", &partition])?)
            .send()
            .await
            .map_err(store_error)?;
        Ok((credential, key))
    }

    /// Returns all keys, oldest first.
    pub async fn list(&self) -> Result<Vec<AccessKey>, StoreError> {
        let mut pages = self
            .home
            .clients
            .dynamodb
            .query()
            .table_name(&self.home.config.table)
            .key_condition_expression("PK = :keys")
            .expression_attribute_values(":keys", text("KEYS"))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut keys = Vec::new();
        while let Some(item) = pages.next().await {
            keys.push(key(&item.map_err(store_error)?)?);
        }
        keys.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(keys)
    }

    /// Revokes a key; other processes notice within 15 s. Returns whether a key with this public part exists.
    pub async fn revoke(&self, id: &str) -> Result<bool, StoreError> {
        let update = |[partition, sort]: [&str; 2]| {
            let update = Update::builder()
                .table_name(&self.home.config.table)
                .key("PK", text(partition))
                .key("SK", text(sort))
                .update_expression("SET revoked_at = if_not_exists(revoked_at, :now)")
                .condition_expression("attribute_exists(PK)")
                .expression_attribute_values(":now", number(self.home.clock.now().0))
                .build();
            update.map(|update| TransactWriteItem::builder().update(update).build()).map_err(built)
        };
        let partition = partition(id);
        let updated = self
            .home
            .clients
            .dynamodb
            .transact_write_items()
            .transact_items(update([&partition, "KEY"])?)
            .transact_items(update(["KEYS", &partition])?)
            .send()
            .await;
        self.known.remove(&id.to_owned());
        match updated {
            Ok(_) => Ok(true),
            Err(error) => {
                let reasons = error.as_service_error().and_then(|error| match error {
                    aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(canceled) => {
                        canceled.cancellation_reasons.as_deref()
                    }
                    _ => None,
                });
                let is_missing = reasons.is_some_and(|reasons| {
                    reasons.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed"))
                });
                if is_missing { Ok(false) } else { Err(store_error(error)) }
            }
        }
    }
}

#[async_trait]
impl KeyStore for Keys {
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        let id = id.to_owned();
        if let Some(answer) = self.known.get(&id) {
            return Ok(answer.into_option());
        }
        let read_at = self.known.now();
        let found = self
            .home
            .clients
            .dynamodb
            .get_item()
            .table_name(&self.home.config.table)
            .key("PK", text(partition(&id)))
            .key("SK", text("KEY"))
            // A key is valid as soon as it is created; and a stale result would be cached.
            .consistent_read(true)
            .send()
            .await
            .map_err(store_error)?;
        let found = found.item.map(|item| key(&item)).transpose()?;
        self.known.put(id, read_at, found.clone());
        Ok(found)
    }
}

fn partition(id: &str) -> String {
    format!("KEY#{id}")
}

fn item(key: &AccessKey, [partition, sort]: [&str; 2]) -> Item {
    let mut item = Item::from([
        ("PK".to_owned(), text(partition)),
        ("SK".to_owned(), text(sort)),
        ("id".to_owned(), text(&key.id)),
        ("hash".to_owned(), bytes(&key.hash)),
        ("organization".to_owned(), text(key.scope.organization.to_string())),
        ("created_at".to_owned(), number(key.created_at.0)),
    ]);
    if let Some(project) = key.scope.project {
        item.insert("project".to_owned(), text(project.to_string()));
    }
    for (name, time) in [("expires_at", key.expires_at), ("revoked_at", key.revoked_at)] {
        if let Some(time) = time {
            item.insert(name.to_owned(), number(time.0));
        }
    }
    item
}

fn key(item: &Item) -> Result<AccessKey, StoreError> {
    let read = Reader(item);
    Ok(AccessKey {
        id: read.text("id")?.to_owned(),
        hash: read.array("hash")?,
        scope: Scope { organization: read.parse("organization")?, project: read.parse_any("project")? },
        created_at: read.time("created_at")?,
        expires_at: read.time_any("expires_at")?,
        revoked_at: read.time_any("revoked_at")?,
    })
}

fn built(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Failed(error.into())
}
