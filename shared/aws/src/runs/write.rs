//! Writes. Each is one request, plus one to the bucket if the content is too large for the table.

use super::{
    Runs,
    expression::Terms,
    facts::Facts,
    item::{self, Body, Item, bytes, number, text},
};
use crate::{
    bodies,
    error::{code, is_conflict, store_error},
    table::{self, PK, SK, TTL},
};
use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{
        put_item::PutItemError, transact_write_items::TransactWriteItemsError, update_item::UpdateItemError,
    },
    types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update as UpdateItem},
};
use runyard_runs::{
    Append, Create, Entry, Guard, IdempotencyItem, NewRun, Record, RecordChange, RunId, StoreError,
    Timestamp, Update,
};
use std::time::Duration;

/// Writing a record of up to this size costs one write unit.
const MAX_RECORD_BYTES: usize = 1024;

/// Bytes that later writes may add to a record.
const GROWTH_BYTES: usize = 128;

/// Retries of a request that conflicts with other transactions, before its outcome is returned as unknown.
const MAX_CONFLICTS: u32 = 6;

/// The outcome of one request.
enum Attempt<T> {
    Answer(T),
    /// Not done: it conflicted with another transaction.
    Conflict(StoreError),
}

impl Runs {
    pub(super) async fn create_run(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError> {
        let facts = Facts { app: run.app, created_at: run.created_at, expires_at: run.expires_at };
        let token = self.token();
        let mut record = item::record_item(run, record, &facts, self.home.config.app_shards);
        record.insert("token".to_owned(), bytes(&token));
        let parameters = item::asked(run)?;
        let (mut input, bytes) = (None, parameters.len() as u64);
        if parameters.len() + item::size(&record) + GROWTH_BYTES <= MAX_RECORD_BYTES {
            Body::Inline(parameters).put(&mut record);
        } else if parameters.len() <= bodies::INLINE {
            record.insert("input".to_owned(), aws_sdk_dynamodb::types::AttributeValue::Bool(true));
            let mut item = item::key(run.id, table::INPUT_SK);
            item.insert(TTL.to_owned(), number(facts.ttl()));
            Body::Inline(parameters).put(&mut item);
            input = Some(item);
        } else {
            self.body(run.id, &facts, "input", parameters).await?.put(&mut record);
        }
        let created = match input {
            None => self.retried(|| self.put_record(&record, &token)).await?,
            Some(input) => self.retried(|| self.put_record_and(&record, &input)).await?,
        };
        if created == Create::Done {
            self.known.learn(run.id, facts);
            self.home.counts.count_record(run.app, run.expires_at, bytes).await;
        }
        Ok(created)
    }

    async fn put_record(&self, record: &Item, token: &[u8; 16]) -> Result<Attempt<Create>, StoreError> {
        let put = self.dynamodb().put_item().table_name(self.table()).set_item(Some(record.clone()));
        let put = put
            .condition_expression(ABSENT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Attempt::Answer(Create::Done)),
            Err(SdkError::ServiceError(service)) => match service.err() {
                // An earlier attempt of this call may have written it, and its response may have been lost.
                PutItemError::ConditionalCheckFailedException(failed) if has_token(failed.item(), token) => {
                    Ok(Attempt::Answer(Create::Done))
                }
                PutItemError::ConditionalCheckFailedException(_) => Ok(Attempt::Answer(Create::Exists)),
                _ => conflict(SdkError::ServiceError(service)),
            },
            Err(error) => Err(store_error(error)),
        }
    }

    async fn put_record_and(&self, record: &Item, input: &Item) -> Result<Attempt<Create>, StoreError> {
        let put = |item: &Item, condition: Option<&str>| {
            let put = Put::builder().table_name(self.table()).set_item(Some(item.clone()));
            built(put.set_condition_expression(condition.map(str::to_owned)).build())
                .map(|put| TransactWriteItem::builder().put(put).build())
        };
        let items = vec![put(record, Some(ABSENT))?, put(input, None)?];
        Ok(match self.transact(items).await? {
            Attempt::Answer(None) => Attempt::Answer(Create::Done),
            Attempt::Answer(Some(_)) => Attempt::Answer(Create::Exists),
            Attempt::Conflict(error) => Attempt::Conflict(error),
        })
    }

    pub(super) async fn bind_key(&self, binding: &IdempotencyItem) -> Result<IdempotencyItem, StoreError> {
        let lifetime = binding.bound_at.since(binding.valid_since);
        let deleted_at = binding.bound_at + lifetime + table::LINGER;
        let pk = table::idempotency_pk(&binding.key);
        let item: Item = [
            (PK, text(&pk)),
            (SK, text("IDEM")),
            (TTL, number(deleted_at.0.div_euclid(1000))),
            ("run", text(binding.run.to_string())),
            ("request", bytes(&binding.request)),
            ("bound_at", number(binding.bound_at.0)),
            ("valid_since", number(binding.valid_since.0)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut terms = Terms::default();
        let is_expired = terms.compare("bound_at", "<", number(binding.valid_since.0));
        let put = self.dynamodb().put_item().table_name(self.table()).set_item(Some(item));
        let put = put
            .condition_expression(format!("{ABSENT} OR {is_expired}"))
            .set_expression_attribute_names(Some(terms.names))
            .set_expression_attribute_values(Some(terms.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let bound = match put.send().await {
            Ok(_) => return Ok(binding.clone()),
            Err(SdkError::ServiceError(service)) => match service.err() {
                PutItemError::ConditionalCheckFailedException(failed) => {
                    failed.item().and_then(|item| binding_of(binding.key, item))
                }
                _ => return Err(store_error(SdkError::ServiceError(service))),
            },
            Err(error) => return Err(store_error(error)),
        };
        bound.ok_or_else(|| {
            StoreError::Unknown("the table did not return the binding of the idempotency key".into())
        })
    }

    pub(super) async fn append_entry(&self, entry: &Entry) -> Result<Append, StoreError> {
        let Some(facts) = self.facts(entry.run).await? else { return Ok(Append::Refused) };
        let item = self.entry_item(entry, &facts).await?;
        let append = self.retried(|| self.put_entry(&item)).await?;
        self.count_entry(append, &facts, item::body_size(&item)).await;
        Ok(append)
    }

    /// Counts an entry that was appended.
    async fn count_entry(&self, append: Append, facts: &Facts, bytes: usize) {
        if append == Append::Done {
            self.home.counts.count_bytes(facts.app, facts.expires_at, bytes).await;
        }
    }

    async fn put_entry(&self, item: &Item) -> Result<Attempt<Append>, StoreError> {
        let put = self.dynamodb().put_item().table_name(self.table()).set_item(Some(item.clone()));
        match put.condition_expression(ABSENT).send().await {
            Ok(_) => Ok(Attempt::Answer(Append::Done)),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                Ok(Attempt::Answer(Append::Taken))
            }
            Err(error) => conflict(error),
        }
    }

    pub(super) async fn commit_entry(
        &self,
        entry: &Entry,
        change: &RecordChange,
        guard: &Guard,
    ) -> Result<Append, StoreError> {
        let Some(facts) = self.facts(entry.run).await? else { return Ok(Append::Refused) };
        let item = self.entry_item(entry, &facts).await?;
        let bytes = item::body_size(&item);
        let mut terms = Terms::default();
        let condition = terms.guard(guard);
        let update = terms.change(change, Some(entry.first), &self.token());
        let put = Put::builder().table_name(self.table()).set_item(Some(item)).condition_expression(ABSENT);
        let put = built(put.build())?;
        let update = UpdateItem::builder()
            .table_name(self.table())
            .set_key(Some(item::key(entry.run, table::RUN_SK)))
            .condition_expression(condition)
            .update_expression(update)
            .set_expression_attribute_names(Some(terms.names))
            .set_expression_attribute_values(Some(terms.values));
        let update = built(update.build())?;
        let items = vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().update(update).build(),
        ];
        let append = self
            .retried(|| async {
                Ok(match self.transact(items.clone()).await? {
                    Attempt::Answer(None) => Attempt::Answer(Append::Done),
                    Attempt::Answer(Some(0)) => Attempt::Answer(Append::Taken),
                    Attempt::Answer(Some(_)) => Attempt::Answer(Append::Refused),
                    Attempt::Conflict(error) => Attempt::Conflict(error),
                })
            })
            .await?;
        self.count_entry(append, &facts, bytes).await;
        Ok(append)
    }

    pub(super) async fn update_record(
        &self,
        run: RunId,
        change: &RecordChange,
        guard: &Guard,
    ) -> Result<Update, StoreError> {
        let token = self.token();
        self.retried(|| self.try_update(run, change, guard, &token)).await
    }

    async fn try_update(
        &self,
        run: RunId,
        change: &RecordChange,
        guard: &Guard,
        token: &[u8; 16],
    ) -> Result<Attempt<Update>, StoreError> {
        let mut terms = Terms::default();
        let guard = terms.guard(guard);
        // A retry of this call finds its own token and does nothing.
        let is_first = terms.compare("token", "<>", bytes(token));
        let update = terms.change(change, None, token);
        let update = self
            .dynamodb()
            .update_item()
            .table_name(self.table())
            .set_key(Some(item::key(run, table::RUN_SK)))
            .condition_expression(format!("{guard} AND {is_first}"))
            .update_expression(update)
            .set_expression_attribute_names(Some(terms.names))
            .set_expression_attribute_values(Some(terms.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(_) => Ok(Attempt::Answer(Update::Done)),
            Err(SdkError::ServiceError(service)) => match service.err() {
                UpdateItemError::ConditionalCheckFailedException(failed)
                    if has_token(failed.item(), token) =>
                {
                    Ok(Attempt::Answer(Update::Done))
                }
                UpdateItemError::ConditionalCheckFailedException(_) => Ok(Attempt::Answer(Update::Refused)),
                _ => conflict(SdkError::ServiceError(service)),
            },
            Err(error) => Err(store_error(error)),
        }
    }

    /// Uses no attribute but `due`, so that it works on a damaged record too.
    pub(super) async fn postpone_run(
        &self,
        run: RunId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Update, StoreError> {
        self.retried(|| self.try_postpone(run, now, until)).await
    }

    async fn try_postpone(
        &self,
        run: RunId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Attempt<Update>, StoreError> {
        let mut terms = Terms::default();
        let is_due = terms.compare("due", "<=", number(now.0));
        let set = terms.compare("due", "=", number(until.0));
        let update = self
            .dynamodb()
            .update_item()
            .table_name(self.table())
            .set_key(Some(item::key(run, table::RUN_SK)))
            .condition_expression(is_due)
            .update_expression(format!("SET {set}"))
            .set_expression_attribute_names(Some(terms.names))
            .set_expression_attribute_values(Some(terms.values));
        match update.send().await {
            Ok(_) => Ok(Attempt::Answer(Update::Done)),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                Ok(Attempt::Answer(Update::Refused))
            }
            Err(error) => conflict(error),
        }
    }

    /// Writes all items or none. Returns the index of the first item whose condition failed, if any. The SDK sends a
    /// token with the request, so that a retry of the same call returns the outcome of the first attempt.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Attempt<Option<usize>>, StoreError> {
        let sent = self.dynamodb().transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(Attempt::Answer(None)) };
        let reasons = match &error {
            SdkError::ServiceError(service) => match service.err() {
                TransactWriteItemsError::TransactionCanceledException(canceled) => {
                    canceled.cancellation_reasons()
                }
                _ => return conflict(error),
            },
            _ => return Err(store_error(error)),
        };
        if let Some(failed) =
            reasons.iter().position(|reason| reason.code() == Some("ConditionalCheckFailed"))
        {
            return Ok(Attempt::Answer(Some(failed)));
        }
        // A canceled transaction had no effect. Other reasons are temporary, unless the request itself is invalid.
        let is_invalid = reasons.iter().any(|reason| {
            matches!(reason.code(), Some("ValidationError" | "ItemCollectionSizeLimitExceeded"))
        });
        let text =
            reasons.iter().filter_map(|reason| Some(format!("{}: {}", reason.code()?, reason.message()?)));
        let text = format!("the transaction was canceled: {}", text.collect::<Vec<_>>().join("; "));
        if is_invalid {
            return Err(StoreError::Failed(text.into()));
        }
        Ok(Attempt::Conflict(StoreError::Unknown(text.into())))
    }

    /// Retries with jitter while the request conflicts with other transactions.
    async fn retried<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<Attempt<T>, StoreError>>,
    {
        for attempt in 0.. {
            match request().await? {
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::Conflict(error) if attempt >= MAX_CONFLICTS => return Err(error),
                Attempt::Conflict(_) => {
                    let max_millis = 10_u64 << attempt;
                    let jitter = u64::from(self.token()[0]) * max_millis / 255;
                    tokio::time::sleep(Duration::from_millis(1 + jitter)).await;
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn entry_item(&self, entry: &Entry, facts: &Facts) -> Result<Item, StoreError> {
        let sk = table::log_sk(entry.first);
        let mut item = item::key(entry.run, &sk);
        item.insert("last".to_owned(), number(entry.last()));
        item.insert(TTL.to_owned(), number(facts.ttl()));
        let json = item::entry_json(entry)?;
        let body = if json.len() <= bodies::INLINE {
            Body::Inline(json)
        } else {
            self.body(entry.run, facts, &format!("{:012}", entry.first), json).await?
        };
        body.put(&mut item);
        Ok(item)
    }

    /// Stores JSON in the bucket.
    async fn body(&self, run: RunId, facts: &Facts, what: &str, json: String) -> Result<Body, StoreError> {
        let key = bodies::key(facts.app, run, facts.kept_seconds(), what, &json);
        self.bodies.put(&key, &json).await?;
        Ok(Body::Object { key, size: json.len() })
    }

    /// A random token that identifies one write, so that its retries recognize it.
    fn token(&self) -> [u8; 16] {
        self.home.ids.random().into_bytes()
    }
}

/// The condition that no such item exists.
const ABSENT: &str = "attribute_not_exists(PK)";

fn has_token(item: Option<&Item>, token: &[u8; 16]) -> bool {
    item.and_then(|item| item.get("token")?.as_b().ok()).is_some_and(|found| found.as_ref() == token)
}

fn conflict<T, E, R>(error: SdkError<E, R>) -> Result<Attempt<T>, StoreError>
where
    E: std::error::Error + aws_sdk_dynamodb::error::ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let is_conflict = is_conflict(code(&error));
    let error = store_error(error);
    if is_conflict { Ok(Attempt::Conflict(error)) } else { Err(error) }
}

fn built<T>(built: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, StoreError> {
    built.map_err(|error| StoreError::Failed(error.into()))
}

fn binding_of(key: [u8; 32], item: &Item) -> Option<IdempotencyItem> {
    Some(IdempotencyItem {
        key,
        run: item::text_of(item, "run")?.parse().ok()?,
        request: item.get("request")?.as_b().ok()?.as_ref().try_into().ok()?,
        bound_at: Timestamp(item::number_of(item, "bound_at")?),
        valid_since: Timestamp(item::number_of(item, "valid_since")?),
    })
}
