//! Races of answers and claims.

use super::{World, somebody};
use async_trait::async_trait;
use futures::future::BoxFuture;
use runyard_runs::{
    AppId, Append, Create, Entry, EventBody, Guard, Head, IdempotencyItem, ListError, ListQuery, LogRange,
    LogRead, NewRun, Record, RecordChange, RunId, RunPage, RunService, RunStatus, RunStore, Sequence,
    StoreError, StoredRun, Timestamp, Update,
};
use serde_json::json;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

type Action = BoxFuture<'static, ()>;

/// A store that executes an action once, just before it writes an entry with a certain event.
struct Interceptor {
    inner: Arc<dyn RunStore>,
    at: fn(&EventBody) -> bool,
    action: Mutex<Option<Action>>,
}

impl World {
    /// A process that executes `action` once, just before it writes an entry with such an event.
    fn intercepted(&self, at: fn(&EventBody) -> bool, action: Action) -> RunService {
        let inner = Arc::clone(&self.backend.runs);
        let runs = Arc::new(Interceptor { inner, at, action: Mutex::new(Some(action)) });
        Self::service_of(runs, &self.backend, &self.engine, &self.clock, &self.app)
    }

    /// A run with two questions, each followed by a step.
    async fn two_questions(&self) -> (RunId, [runyard_runs::InputRequest; 2]) {
        let ask = |name: &str| json!([{"ask": name}, {"step": name, "wait_ms": 200}]);
        let run = self.waiting(json!([{"branches": [ask("one"), ask("two")]}])).await;
        let requests = run.input_requests.try_into().expect("two questions");
        (run.new.id, requests)
    }

    /// Handles the remaining messages until the run completes. Asserts that it used both answers.
    async fn completes_with_both_answers(&self, id: RunId) {
        for round in 0.. {
            if self.get(id).await.status == RunStatus::Completed {
                break;
            }
            assert!(round < 100, "the run does not complete: {:#?}", self.events(id).await);
            // Without a message, a worker may still be executing the run.
            let message = tokio::time::timeout(Duration::from_millis(100), (self.backend.receive)()).await;
            if let Ok(run) = message {
                self.another_service().work(run).await.expect("the store answers");
            }
        }
        assert_eq!(self.get(id).await.output.as_deref(), Some(&json!([[[1, "one"], [2, "two"]]])));
        assert_eq!((self.engine.begun("one"), self.engine.begun("two")), (1, 1));
        assert_eq!(self.count(id, "input.received").await, 2);
        self.sealed(id).await;
    }
}

/// An answer takes the slot just before a claim is written: the worker continues with both answers.
pub async fn an_answer_comes_just_before_a_claim(world: World) {
    let (id, [one, two]) = world.two_questions().await;
    world.answer(id, &one, json!(1)).await.expect("the answer is accepted");
    let (other, app) = (world.another_service(), Arc::clone(&world.app));
    let action = async move {
        other.answer(&app, id, two.id, somebody(), |_| Ok(json!(2))).await.expect("the answer is accepted");
    };
    world.work_once(&world.intercepted(EventBody::is_claim, Box::pin(action))).await;
    assert_eq!(world.count(id, "run.resumed").await, 1, "one worker has both answers");
    world.completes_with_both_answers(id).await;
}

/// A claim takes the slot just before an answer is written, by a worker that has read the log without it.
pub async fn an_answer_comes_just_after_a_claim(world: World) {
    let (id, [one, two]) = world.two_questions().await;
    world.answer(id, &one, json!(1)).await.expect("the answer is accepted");
    let (worker, reader, app) = (world.another_service(), world.another_service(), Arc::clone(&world.app));
    let action = async move {
        tokio::spawn(async move { worker.work(id).await });
        let claimed = async || {
            let page = reader.events(&app, id, 1, 100, true).await.expect("the run exists");
            page.events.iter().any(|event| event.body == EventBody::RunResumed)
        };
        while !claimed().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let is_answer = |body: &EventBody| matches!(body, EventBody::InputReceived { .. });
    let answering = world.intercepted(is_answer, Box::pin(action));
    answering
        .answer(&world.app, id, two.id, somebody(), |_| Ok(json!(2)))
        .await
        .expect("the answer is accepted");
    world.completes_with_both_answers(id).await;
}

impl Interceptor {
    async fn intercept(&self, entry: &Entry) {
        let action = if entry.events.iter().any(|logged| (self.at)(&logged.body)) {
            self.action.lock().unwrap_or_else(PoisonError::into_inner).take()
        } else {
            None
        };
        if let Some(action) = action {
            action.await;
        }
    }
}

#[async_trait]
impl RunStore for Interceptor {
    async fn create(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError> {
        self.inner.create(run, record).await
    }

    async fn bind(&self, item: &IdempotencyItem) -> Result<IdempotencyItem, StoreError> {
        self.inner.bind(item).await
    }

    async fn append(&self, entry: &Entry) -> Result<Append, StoreError> {
        self.intercept(entry).await;
        self.inner.append(entry).await
    }

    async fn commit(
        &self,
        entry: &Entry,
        change: &RecordChange,
        guard: &Guard,
    ) -> Result<Append, StoreError> {
        self.intercept(entry).await;
        self.inner.commit(entry, change, guard).await
    }

    async fn update(&self, run: RunId, change: &RecordChange, guard: &Guard) -> Result<Update, StoreError> {
        self.inner.update(run, change, guard).await
    }

    async fn read_range(&self, run: RunId, range: LogRange) -> Result<Option<LogRead>, StoreError> {
        self.inner.read_range(run, range).await
    }

    async fn head(&self, run: RunId) -> Result<Option<Head>, StoreError> {
        self.inner.head(run).await
    }

    async fn get(&self, run: RunId) -> Result<Option<StoredRun>, StoreError> {
        self.inner.get(run).await
    }

    async fn list(&self, query: &ListQuery) -> Result<RunPage, ListError> {
        self.inner.list(query).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(AppId, RunId)>, StoreError> {
        self.inner.due(now, limit).await
    }

    async fn postpone(&self, run: RunId, now: Timestamp, until: Timestamp) -> Result<Update, StoreError> {
        self.inner.postpone(run, now, until).await
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.delete_expired(now, limit).await
    }

    async fn changed(&self, run: RunId, after: Sequence, at_most: Duration) {
        self.inner.changed(run, after, at_most).await;
    }
}
