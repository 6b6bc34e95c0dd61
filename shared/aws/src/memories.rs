//! Agents' memory of conversations.
//!
//! ```text
//! MEMORY#<hash of the conversation>, TURN#<creation of the run in ms, 15 digits>#<turn>     the messages of one run
//! ```
//!
//! A turn that is too large for the table is stored in the bucket, under the prefix of its run.

use crate::{
    aws::Shared,
    bodies::{self, Bodies, INLINE},
    error::store_error,
    item::{Item, Reader, number, text},
    table::{LINGER, PK, SK, TTL, memory_pk},
};
use async_trait::async_trait;
use aws_sdk_dynamodb::{error::SdkError, operation::put_item::PutItemError};
use runyard_runs::{MemoryScope, MemoryStore, MemoryTurn, StoreError};
use std::sync::Arc;

/// Turns read by one query.
const TURNS_PER_QUERY: i32 = 25;

/// [`MemoryStore`] on DynamoDB and S3.
pub struct Memories {
    home: Arc<Shared>,
    bodies: Bodies,
}

impl Memories {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        let bodies = Bodies::new(home.clients.s3.clone(), home.config.bucket.clone());
        Self { home, bodies }
    }

    async fn turn(&self, item: &Item) -> Result<MemoryTurn, StoreError> {
        let read = Reader(item);
        let kept;
        let content = if item.contains_key("body") {
            kept = self.bodies.get(read.text("body")?).await?;
            &kept
        } else {
            read.text("turn")?
        };
        serde_json::from_str(content).map_err(|_| read.damaged("turn"))
    }
}

#[async_trait]
impl MemoryStore for Memories {
    async fn recent(&self, scope: &MemoryScope, messages: usize) -> Result<Vec<MemoryTurn>, StoreError> {
        let now = self.home.clock.now();
        let mut items = self
            .home
            .clients
            .dynamodb
            .query()
            .table_name(&self.home.config.table)
            .key_condition_expression("PK = :scope")
            .expression_attribute_values(":scope", text(memory_pk(scope)))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(TURNS_PER_QUERY)
            .into_paginator()
            .items()
            .send();
        let (mut turns, mut count) = (Vec::new(), 0);
        while count < messages
            && let Some(item) = items.next().await
        {
            let item = item.map_err(store_error)?;
            if Reader(&item).time("expires_at")? <= now {
                continue;
            }
            let turn = self.turn(&item).await?;
            count += turn.messages.len();
            turns.push(turn);
        }
        turns.reverse();
        Ok(turns)
    }

    async fn keep(&self, scope: &MemoryScope, turn: MemoryTurn) -> Result<(), StoreError> {
        let content = serde_json::to_string(&turn).map_err(|error| StoreError::Failed(error.into()))?;
        let (deleted_at, bytes) = (turn.expires_at + LINGER, content.len() as u64);
        let mut item: Item = [
            (PK, text(memory_pk(scope))),
            (SK, text(format!("TURN#{:015}#{}", turn.at.0.max(0), turn.id()))),
            (TTL, number(deleted_at.0.div_euclid(1000))),
            ("expires_at", number(turn.expires_at.0)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if content.len() > INLINE {
            let kept_seconds = deleted_at.since(self.home.clock.now()).as_secs();
            let kept_seconds = i64::try_from(kept_seconds).unwrap_or(i64::MAX);
            let key = bodies::key(scope.app, turn.run, kept_seconds, "memory", &content);
            self.bodies.put(&key, &content).await?;
            item.insert("body".to_owned(), text(key));
        } else {
            item.insert("turn".to_owned(), text(content));
        }
        let put = self.home.clients.dynamodb.put_item().table_name(&self.home.config.table);
        let put = put.set_item(Some(item)).condition_expression("attribute_not_exists(PK)").send().await;
        match put {
            Ok(_) => {
                self.home.counts.count_record(scope.app, turn.expires_at, bytes).await;
                Ok(())
            }
            Err(SdkError::ServiceError(service))
                if matches!(service.err(), PutItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(())
            }
            Err(error) => Err(store_error(error)),
        }
    }
}
