//! Resting: a run waits for a point in time without a process, and wakes earlier for answers, expiries and cancels.

use super::{World, has, somebody};
use futures::StreamExt;
use runyard_runs::{
    Clock, Head, Limits, ReportedStatus, RunEvent, RunId, RunStatus,
    service::create::{Created, Mode},
};
use serde_json::{Value, json};
use std::time::Duration;

const HOUR: u64 = 3_600_000;

impl World {
    /// Allows each run a day.
    fn patient(self) -> Self {
        self.limited(Limits { run_seconds: 86_400, ..Limits::default() })
    }

    /// Executes a run of these commands until it rests.
    async fn resting(&self, commands: Value) -> Created {
        let created = self.created(Mode::Sync, commands).await;
        tokio::time::timeout(Duration::from_secs(10), self.service.idle())
            .await
            .expect("no process executes it");
        let head = self.head(created.run.new.id).await;
        assert_eq!((head.record.status, head.record.owner), (RunStatus::Started, None));
        created
    }

    async fn head(&self, id: RunId) -> Head {
        self.backend.runs.head(id).await.expect("the store answers").expect("the run")
    }

    /// Sweeps, asserts that `runs` runs are enqueued, and executes each with a new worker.
    async fn swept(&self, runs: usize) {
        assert_eq!(self.service.sweep(10).await.expect("the store answers").requeued, runs);
        for _ in 0..runs {
            self.work_once(&self.another_service()).await;
        }
    }
}

/// The sweeper enqueues a resting run at its time, and not before; nothing is repeated, and no worker counts as lost.
pub async fn a_run_rests_without_a_process(world: World) {
    let world = world.patient();
    let created = world.resting(json!([{"step": "a"}, {"rest_ms": HOUR}, {"step": "b"}])).await;
    let id = created.run.new.id;
    let due = world.head(id).await.record.due.expect("the run is due");
    let left = due.since(world.clock.now());
    assert!(left > Duration::from_mins(58) && left <= Duration::from_hours(1), "{left:?}");
    world.swept(0).await;
    world.clock.forward(Duration::from_mins(61));
    world.swept(1).await;
    let run = world.service.settled(created, Duration::from_secs(1)).await.expect("the run is read");
    assert_eq!(run.output.as_deref(), Some(&json!(["a", "rested", "b"])));
    assert_eq!((world.engine.begun("a"), world.engine.begun("b")), (1, 1));
    let names = world.sealed(id).await;
    assert!(!names.iter().any(|name| name == "run.paused"), "the run did not pause: {names:?}");
}

/// The queue wakes a run that rests for a short time.
pub async fn a_run_is_woken_on_the_moment(world: World) {
    let created = world.resting(json!([{"rest_ms": 1500}, "end"])).await;
    let id = created.run.new.id;
    let due = world.head(id).await.record.due.expect("the run is due");
    world.work_once(&world.another_service()).await;
    assert!(world.clock.now() >= due);
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!(["rested", "end"])));
    world.sealed(id).await;
}

/// A stream continues while the run rests, and after.
pub async fn a_follower_sees_a_run_that_rested_end(world: World) {
    let world = world.patient();
    let created = world.created(Mode::Stream, json!([{"step": "a"}, {"rest_ms": HOUR}, {"step": "b"}])).await;
    let id = created.run.new.id;
    let stream = world.service.follow_created(created);
    let ended = async {
        world.service.idle().await;
        world.clock.forward(Duration::from_mins(61));
        world.swept(1).await;
    };
    let (seen, ()) = tokio::join!(stream.map(|event| event.expect("the store answers")).collect(), ended);
    let seen: Vec<RunEvent> = seen;
    assert_eq!(seen, world.events(id).await);
    world.sealed(id).await;
}

/// A worker that gets a resting run too early changes nothing, however often: messages may be duplicates.
pub async fn who_comes_early_changes_nothing(world: World) {
    let world = world.patient();
    let created = world.resting(json!([{"step": "a"}, {"rest_ms": HOUR}, {"step": "b"}])).await;
    let id = created.run.new.id;
    let before = world.head(id).await.record;
    for _ in 0..12 {
        world.another_service().work(id).await.expect("the store answers");
    }
    assert_eq!(world.head(id).await.record, before, "nothing is written");
    world.clock.forward(Duration::from_mins(61));
    world.swept(1).await;
    assert_eq!(world.get(id).await.status, RunStatus::Completed);
    assert_eq!(world.engine.begun("a"), 1);
    world.sealed(id).await;
}

/// Each answer resumes its branch at once, more often than workers may be lost; the run pauses only after its rest.
pub async fn answers_wake_a_run_that_rests(world: World) {
    let world = world.patient();
    let asks = (0..8).map(|n| json!([{"ask": n.to_string()}, {"step": n.to_string()}]));
    let branches: Vec<Value> = asks.chain([json!([{"rest_ms": HOUR}, {"step": "rested"}])]).collect();
    let created = world.resting(json!([{"branches": branches}])).await;
    let id = created.run.new.id;
    let run = world.get(id).await;
    assert_eq!((run.status, run.reported_status()), (RunStatus::Started, ReportedStatus::AwaitingInput));
    let (last, first) = run.input_requests.split_last().expect("questions");
    for request in first {
        world.answer(id, request, json!("yes")).await.expect("the answer is accepted");
        world.work_once(&world.another_service()).await;
        assert_eq!(world.engine.begun(&request.prompt), 1, "the branch goes on at once");
        assert_eq!(world.get(id).await.status, RunStatus::Started);
    }
    assert_eq!(world.engine.begun("rested"), 0);
    world.clock.forward(Duration::from_mins(61));
    world.swept(1).await;
    assert_eq!((world.get(id).await.status, world.engine.begun("rested")), (RunStatus::Paused, 1));
    world.answer(id, last, json!("yes")).await.expect("the answer is accepted");
    world.work_once(&world.another_service()).await;
    assert_eq!(world.get(id).await.status, RunStatus::Completed);
    world.sealed(id).await;
}

/// An answer to a resting run makes it due: it is not lost with the message.
pub async fn an_answer_to_a_run_that_rests_is_not_lost(world: World) {
    let world = world.patient();
    let branches = json!([[{"ask": "well?"}, {"step": "after"}], [{"rest_ms": HOUR}]]);
    let created = world.resting(json!([{"branches": branches}])).await;
    let id = created.run.new.id;
    let requests = world.get(id).await.input_requests;
    world.answer(id, &requests[0], json!("yes")).await.expect("the answer is accepted");
    let message = tokio::time::timeout(Duration::from_secs(10), (world.backend.receive)()).await;
    assert_eq!(message.expect("a message"), id, "the message is lost");
    world.swept(1).await;
    assert_eq!(world.engine.begun("after"), 1);
    let left = world.head(id).await.record.due.expect("it still rests").since(world.clock.now());
    assert!(left > Duration::from_mins(58), "{left:?}");
    world.service.cancel(&world.app, id, &somebody()).await.expect("it is canceled");
    world.sealed(id).await;
}

/// A question of a resting run expires at its own time, before the rest ends.
pub async fn a_request_expires_while_the_run_rests(world: World) {
    let world = world.patient();
    let branches = json!([[{"ask": "well?", "expires_ms": 600_000}, {"step": "after"}], [{"rest_ms": HOUR}]]);
    let created = world.resting(json!([{"branches": branches}])).await;
    let id = created.run.new.id;
    let expires_at = world.get(id).await.input_requests[0].expires_at;
    assert_eq!(world.head(id).await.record.due, expires_at);
    world.clock.forward(Duration::from_mins(11));
    world.swept(1).await;
    assert_eq!(world.engine.begun("after"), 1);
    assert_eq!(world.count(id, "input.expired").await, 1);
    assert_eq!(world.get(id).await.status, RunStatus::Started);
    world.clock.forward(Duration::from_mins(50));
    world.swept(1).await;
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!([[["expired", "after"], ["rested"]]])));
    world.sealed(id).await;
}

/// A resting run can be canceled, like a queued one.
pub async fn a_run_that_rests_can_be_canceled(world: World) {
    let world = world.patient();
    let created = world.resting(json!([{"rest_ms": HOUR}, {"step": "never"}])).await;
    let id = created.run.new.id;
    world.service.cancel(&world.app, id, &somebody()).await.expect("it is canceled");
    assert_eq!(world.head(id).await.record.due, None);
    world.clock.forward(Duration::from_mins(61));
    world.swept(0).await;
    world.another_service().work(id).await.expect("a duplicate message does nothing");
    assert_eq!(world.engine.begun("never"), 0);
    assert_eq!(world.sealed(id).await.last().map(String::as_str), Some("run.canceled"));
}

/// `limits.run_seconds` counts the time for which a run rests, unlike the time for which it waits for people.
pub async fn resting_is_counted(world: World) {
    let world = world.limited(Limits { run_seconds: 600, ..Limits::default() });
    let created = world.resting(json!([{"rest_ms": HOUR}, {"step": "never"}])).await;
    let id = created.run.new.id;
    world.clock.forward(Duration::from_secs(601));
    world.swept(1).await;
    assert_eq!(world.get(id).await.error.expect("an error").code, "timeout");
    assert_eq!(world.engine.begun("never"), 0);
    world.sealed(id).await;
}

/// A run that is handed over while one branch rests and another executes still rests afterwards.
pub async fn a_run_that_is_handed_over_while_it_rests_goes_on(world: World) {
    let world = world.patient();
    let branches = json!([[{"step": "slow", "wait_ms": 2000}], [{"rest_ms": HOUR}]]);
    let created = world.create(Mode::Sync, json!([{"branches": branches}, "end"])).await.expect("accepted");
    let id = created.run.new.id;
    world.until(id, has("run.checkpoint")).await;
    world.service.shut_down().await;
    let other = world.another_service();
    world.work_once(&other).await;
    let head = world.head(id).await;
    assert_eq!((head.record.status, head.record.owner), (RunStatus::Started, None));
    world.clock.forward(Duration::from_mins(61));
    assert_eq!(other.sweep(10).await.expect("the store answers").requeued, 1);
    world.work_once(&other).await;
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!([[["slow"], ["rested"]], "end"])));
    world.sealed(id).await;
}
