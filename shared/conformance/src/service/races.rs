//! Answers and claims of the same moment.

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

type Meanwhile = BoxFuture<'static, ()>;

/// A store in which something happens just before a certain entry is written.
struct Meeting {
    inner: Arc<dyn RunStore>,
    at: fn(&EventBody) -> bool,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl World {
    /// A process for which `meanwhile` happens once, just before it writes an entry with such an event.
    fn meeting(&self, at: fn(&EventBody) -> bool, meanwhile: Meanwhile) -> RunService {
        let inner = Arc::clone(&self.backend.runs);
        let runs = Arc::new(Meeting { inner, at, meanwhile: Mutex::new(Some(meanwhile)) });
        Self::service_of(runs, &self.backend, &self.engine, &self.clock, &self.app)
    }

    /// A run that asks two people, after both of which a step follows.
    async fn two_questions(&self) -> (RunId, [runyard_runs::InputRequest; 2]) {
        let ask = |name: &str| json!([{"ask": name}, {"step": name, "wait_ms": 200}]);
        let run = self.waiting(json!([{"branches": [ask("one"), ask("two")]}])).await;
        let requests = run.input_requests.try_into().expect("two questions");
        (run.new.id, requests)
    }

    /// Both answers were heard, whatever messages are left.
    async fn both_are_heard(&self, id: RunId) {
        for round in 0.. {
            if self.get(id).await.status == RunStatus::Completed {
                break;
            }
            assert!(round < 100, "it waits for ever: {:#?}", self.events(id).await);
            // Its worker may be at it still.
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

/// The answer takes the place of a claim that is on its way: the worker goes on from both.
pub async fn an_answer_comes_just_before_a_claim(world: World) {
    let (id, [one, two]) = world.two_questions().await;
    world.answer(id, &one, json!(1)).await.expect("it is taken");
    let (other, app) = (world.another_service(), Arc::clone(&world.app));
    let meanwhile = async move {
        other.answer(&app, id, two.id, somebody(), |_| Ok(json!(2))).await.expect("it is taken");
    };
    world.work_once(&world.meeting(EventBody::is_claim, Box::pin(meanwhile))).await;
    assert_eq!(world.count(id, "run.resumed").await, 1, "the one worker heard of both");
    world.both_are_heard(id).await;
}

/// A claim takes the place of an answer that is on its way, by a worker that had read the log before it.
pub async fn an_answer_comes_just_after_a_claim(world: World) {
    let (id, [one, two]) = world.two_questions().await;
    world.answer(id, &one, json!(1)).await.expect("it is taken");
    let (worker, reader, app) = (world.another_service(), world.another_service(), Arc::clone(&world.app));
    let meanwhile = async move {
        tokio::spawn(async move { worker.work(id).await });
        let claimed = async || {
            let page = reader.events(&app, id, 1, 100, true).await.expect("the run is there");
            page.events.iter().any(|event| event.body == EventBody::RunResumed)
        };
        while !claimed().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let is_answer = |body: &EventBody| matches!(body, EventBody::InputReceived { .. });
    let answering = world.meeting(is_answer, Box::pin(meanwhile));
    answering.answer(&world.app, id, two.id, somebody(), |_| Ok(json!(2))).await.expect("it is taken");
    world.both_are_heard(id).await;
}

impl Meeting {
    async fn meet(&self, entry: &Entry) {
        let meanwhile = if entry.events.iter().any(|logged| (self.at)(&logged.body)) {
            self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take()
        } else {
            None
        };
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
    }
}

#[async_trait]
impl RunStore for Meeting {
    async fn create(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError> {
        self.inner.create(run, record).await
    }

    async fn bind(&self, item: &IdempotencyItem) -> Result<IdempotencyItem, StoreError> {
        self.inner.bind(item).await
    }

    async fn append(&self, entry: &Entry) -> Result<Append, StoreError> {
        self.meet(entry).await;
        self.inner.append(entry).await
    }

    async fn commit(
        &self,
        entry: &Entry,
        change: &RecordChange,
        guard: &Guard,
    ) -> Result<Append, StoreError> {
        self.meet(entry).await;
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
