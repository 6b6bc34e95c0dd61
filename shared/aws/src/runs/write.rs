//! The writes. Each is one request, but for the object of what is too large for the table.

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

/// What a write of a record up to this size costs is one unit.
const RECORD: usize = 1024;

/// What later writes may add to a record.
const GROWTH: usize = 128;

/// How many requests collide with a transaction before the outcome is given up as unknown.
const CONFLICTS: u32 = 6;

/// What came of one request.
enum Tried<T> {
    Answer(T),
    /// Not done: another transaction was at it.
    Conflict(StoreError),
}

impl Runs {
    pub(super) async fn create_run(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError> {
        let facts = Facts { app: run.app, created_at: run.created_at, expires_at: run.expires_at };
        let token = self.token();
        let mut record = item::record_item(run, record, &facts, self.home.config.app_shards);
        record.insert("token".to_owned(), bytes(&token));
        let asked = item::asked(run)?;
        let (mut input, bytes) = (None, asked.len() as u64);
        if asked.len() + item::size(&record) + GROWTH <= RECORD {
            Body::Inline(asked).put(&mut record);
        } else if asked.len() <= bodies::INLINE {
            record.insert("input".to_owned(), aws_sdk_dynamodb::types::AttributeValue::Bool(true));
            let mut item = item::key(run.id, table::INPUT_SK);
            item.insert(TTL.to_owned(), number(facts.ttl()));
            Body::Inline(asked).put(&mut item);
            input = Some(item);
        } else {
            self.body(run.id, &facts, "input", asked).await?.put(&mut record);
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

    async fn put_record(&self, record: &Item, token: &[u8; 16]) -> Result<Tried<Create>, StoreError> {
        let put = self.dynamodb().put_item().table_name(self.table()).set_item(Some(record.clone()));
        let put = put
            .condition_expression(ABSENT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Tried::Answer(Create::Done)),
            Err(SdkError::ServiceError(service)) => match service.err() {
                // An earlier attempt of this very call may have done it, and its reply been lost.
                PutItemError::ConditionalCheckFailedException(failed) if wrote(failed.item(), token) => {
                    Ok(Tried::Answer(Create::Done))
                }
                PutItemError::ConditionalCheckFailedException(_) => Ok(Tried::Answer(Create::Exists)),
                _ => conflict(SdkError::ServiceError(service)),
            },
            Err(error) => Err(store_error(error)),
        }
    }

    async fn put_record_and(&self, record: &Item, input: &Item) -> Result<Tried<Create>, StoreError> {
        let put = |item: &Item, condition: Option<&str>| {
            let put = Put::builder().table_name(self.table()).set_item(Some(item.clone()));
            built(put.set_condition_expression(condition.map(str::to_owned)).build())
                .map(|put| TransactWriteItem::builder().put(put).build())
        };
        let items = vec![put(record, Some(ABSENT))?, put(input, None)?];
        Ok(match self.transact(items).await? {
            Tried::Answer(None) => Tried::Answer(Create::Done),
            Tried::Answer(Some(_)) => Tried::Answer(Create::Exists),
            Tried::Conflict(error) => Tried::Conflict(error),
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
        let void = terms.compare("bound_at", "<", number(binding.valid_since.0));
        let put = self.dynamodb().put_item().table_name(self.table()).set_item(Some(item));
        let put = put
            .condition_expression(format!("{ABSENT} OR {void}"))
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
        bound.ok_or_else(|| StoreError::Unknown("what the key is bound to was not told".into()))
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

    async fn put_entry(&self, item: &Item) -> Result<Tried<Append>, StoreError> {
        let put = self.dynamodb().put_item().table_name(self.table()).set_item(Some(item.clone()));
        match put.condition_expression(ABSENT).send().await {
            Ok(_) => Ok(Tried::Answer(Append::Done)),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                Ok(Tried::Answer(Append::Taken))
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
                    Tried::Answer(None) => Tried::Answer(Append::Done),
                    Tried::Answer(Some(0)) => Tried::Answer(Append::Taken),
                    Tried::Answer(Some(_)) => Tried::Answer(Append::Refused),
                    Tried::Conflict(error) => Tried::Conflict(error),
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
    ) -> Result<Tried<Update>, StoreError> {
        let mut terms = Terms::default();
        let guard = terms.guard(guard);
        // A second attempt of this call finds its own token and does nothing.
        let again = terms.compare("token", "<>", bytes(token));
        let update = terms.change(change, None, token);
        let update = self
            .dynamodb()
            .update_item()
            .table_name(self.table())
            .set_key(Some(item::key(run, table::RUN_SK)))
            .condition_expression(format!("{guard} AND {again}"))
            .update_expression(update)
            .set_expression_attribute_names(Some(terms.names))
            .set_expression_attribute_values(Some(terms.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(_) => Ok(Tried::Answer(Update::Done)),
            Err(SdkError::ServiceError(service)) => match service.err() {
                UpdateItemError::ConditionalCheckFailedException(failed) if wrote(failed.item(), token) => {
                    Ok(Tried::Answer(Update::Done))
                }
                UpdateItemError::ConditionalCheckFailedException(_) => Ok(Tried::Answer(Update::Refused)),
                _ => conflict(SdkError::ServiceError(service)),
            },
            Err(error) => Err(store_error(error)),
        }
    }

    /// Names no attribute but the one, so that it works on an item that nothing else can be made of.
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
    ) -> Result<Tried<Update>, StoreError> {
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
            Ok(_) => Ok(Tried::Answer(Update::Done)),
            Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
                Ok(Tried::Answer(Update::Refused))
            }
            Err(error) => conflict(error),
        }
    }

    /// Does all of it or nothing; gives which condition failed, if one did. The SDK sends a token with it, by which a
    /// second attempt of the same call is told what came of the first.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Tried<Option<usize>>, StoreError> {
        let sent = self.dynamodb().transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(Tried::Answer(None)) };
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
            return Ok(Tried::Answer(Some(failed)));
        }
        // Canceled is not done. What else cancels passes, but for what is wrong with the request.
        let is_wrong = reasons.iter().any(|reason| {
            matches!(reason.code(), Some("ValidationError" | "ItemCollectionSizeLimitExceeded"))
        });
        let text =
            reasons.iter().filter_map(|reason| Some(format!("{}: {}", reason.code()?, reason.message()?)));
        let text = format!("the transaction was canceled: {}", text.collect::<Vec<_>>().join("; "));
        if is_wrong {
            return Err(StoreError::Failed(text.into()));
        }
        Ok(Tried::Conflict(StoreError::Unknown(text.into())))
    }

    /// Tries again, with jitter, while others' transactions are in the way.
    async fn retried<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<Tried<T>, StoreError>>,
    {
        for attempt in 0.. {
            match request().await? {
                Tried::Answer(answer) => return Ok(answer),
                Tried::Conflict(error) if attempt >= CONFLICTS => return Err(error),
                Tried::Conflict(_) => {
                    let longest = 10_u64 << attempt;
                    let jitter = u64::from(self.token()[0]) * longest / 255;
                    tokio::time::sleep(Duration::from_millis(1 + jitter)).await;
                }
            }
        }
        unreachable!("attempts are counted")
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

    /// Puts something large into the bucket.
    async fn body(&self, run: RunId, facts: &Facts, what: &str, json: String) -> Result<Body, StoreError> {
        let key = bodies::key(facts.app, run, facts.kept_seconds(), what, &json);
        self.bodies.put(&key, &json).await?;
        Ok(Body::Object { key, size: json.len() })
    }

    /// Names one write, so that it is known again.
    fn token(&self) -> [u8; 16] {
        self.home.ids.random().into_bytes()
    }
}

/// There is no such item.
const ABSENT: &str = "attribute_not_exists(PK)";

fn wrote(item: Option<&Item>, token: &[u8; 16]) -> bool {
    item.and_then(|item| item.get("token")?.as_b().ok()).is_some_and(|found| found.as_ref() == token)
}

fn conflict<T, E, R>(error: SdkError<E, R>) -> Result<Tried<T>, StoreError>
where
    E: std::error::Error + aws_sdk_dynamodb::error::ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let is_conflict = is_conflict(code(&error));
    let error = store_error(error);
    if is_conflict { Ok(Tried::Conflict(error)) } else { Err(error) }
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
