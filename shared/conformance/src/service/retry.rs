//! Retries: what a new run keeps of a failed or canceled one.

use super::{World, asked, somebody};
use runyard_runs::{
    RunId, RunStatus,
    service::{
        create::{Created, Idempotency},
        retry::Error as RetryError,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

impl World {
    async fn retry(&self, run: RunId) -> Result<Created, RetryError> {
        self.service.retry(&self.app, run, None).await
    }

    /// Executes a run of these commands, which must fail.
    async fn failed(&self, commands: Value) -> RunId {
        let run = self.sync(commands).await;
        assert_eq!(run.status, RunStatus::Failed);
        run.new.id
    }
}

/// A retry does not repeat recorded steps or answered questions.
pub async fn a_retry_keeps_what_is_done(world: World) {
    let (id, request) = {
        let run = world.sync(json!([{"step": "a"}, {"ask": "well?"}, {"step": "b"}, {"flaky": "c"}])).await;
        (run.new.id, run.input_requests[0].clone())
    };
    world
        .service
        .answer(&world.app, id, request.id, somebody(), |_| Ok(json!("yes")))
        .await
        .expect("the answer is accepted");
    world.work_once(&world.service).await;
    assert_eq!(world.get(id).await.status, RunStatus::Failed);
    let created = world.retry(id).await.expect("it is accepted");
    let retry = created.run.new.id;
    assert_eq!((created.run.status, created.run.new.retry_of), (RunStatus::Created, Some(id)));
    assert_ne!(retry, id);
    world.work_once(&world.another_service()).await;
    let run = world.get(retry).await;
    assert_eq!(
        (run.status, run.output.as_deref()),
        (RunStatus::Completed, Some(&json!(["a", "yes", "b", "c"])))
    );
    assert_eq!(run.new.input, world.get(id).await.new.input);
    assert_eq!((world.engine.begun("a"), world.engine.begun("b"), world.engine.begun("c")), (1, 1, 2));
    let names = world.sealed(retry).await;
    assert_eq!(names[0], "run.started", "{names:?}");
    assert_eq!(world.get(id).await.status, RunStatus::Failed, "the old run is unchanged");
}

/// A retry repeats an unanswered question with a new id.
pub async fn a_canceled_run_asks_anew_when_it_is_retried(world: World) {
    let (id, request) = asked(&world).await;
    world.service.cancel(&world.app, id, &somebody()).await.expect("it is canceled");
    let retry = world.retry(id).await.expect("it is accepted").run.new.id;
    world.work_once(&world.service).await;
    let run = world.get(retry).await;
    let [asked] = run.input_requests.as_slice() else { panic!("one question: {run:?}") };
    assert_ne!(asked.id, request.id);
    world
        .service
        .answer(&world.app, retry, asked.id, somebody(), |_| Ok(json!("yes")))
        .await
        .expect("the answer is accepted");
    world.work_once(&world.another_service()).await;
    assert_eq!(world.get(retry).await.output.as_deref(), Some(&json!(["before", "yes", "after"])));
    assert_eq!(world.engine.begun("before"), 1);
    world.sealed(retry).await;
}

/// Retrying a run that has not failed is invalid (400), an unknown one is not found (404).
pub async fn what_has_not_failed_is_not_retried(world: World) {
    let completed = world.sync(json!([1])).await.new.id;
    let (paused, _) = asked(&world).await;
    for id in [completed, paused] {
        assert!(
            matches!(world.retry(id).await, Err(RetryError::Invalid(details)) if details.contains_key("status"))
        );
    }
    assert!(matches!(world.retry(RunId(Uuid::nil())).await, Err(RetryError::NotFound)));
}

/// Retries with the same idempotency key get the same run, also if they are concurrent.
pub async fn a_key_gives_the_same_retry(world: World) {
    let id = world.failed(json!([{"step": "a"}, {"flaky": "b"}])).await;
    let key = || Some(Idempotency { key: "k".to_owned(), caller: "me".to_owned(), request: [7; 32] });
    let retries = (0..4).map(|_| world.service.retry(&world.app, id, key()));
    let retries = futures::future::join_all(retries).await;
    let ids: Vec<RunId> = retries.iter().map(|retry| retry.as_ref().expect("accepted").run.new.id).collect();
    assert!(ids.iter().all(|retry| *retry == ids[0]), "{ids:?}");
    world.work_once(&world.service).await;
    assert_eq!(world.get(ids[0]).await.status, RunStatus::Completed);
    assert_eq!(world.engine.begun("a"), 1);
}

/// A retry fails if the old run was deleted before it began: it would have to repeat all steps.
pub async fn a_retry_of_what_is_gone_says_so(world: World) {
    let id = world.failed(json!([{"step": "a"}, {"flaky": "b"}])).await;
    world.clock.forward(Duration::from_hours(20));
    let retry = world.retry(id).await.expect("it is accepted").run.new.id;
    world.clock.forward(Duration::from_hours(6));
    world.service.sweep(10).await.expect("the store answers");
    if world.service.get(&world.app, id).await.is_ok() {
        // A store whose backend removes expired runs itself uses its own clock.
        return;
    }
    world.work_once(&world.service).await;
    let run = world.get(retry).await;
    assert_eq!(run.error.as_ref().map(|error| error.code.as_str()), Some("retry_lost"), "{run:?}");
    assert_eq!(world.engine.begun("a"), 1);
}
