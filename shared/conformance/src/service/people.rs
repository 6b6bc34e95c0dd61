//! Questions to people: what is pending, what expires, what goes on meanwhile.

use super::{World, asked, has, somebody};
use runyard_runs::{
    Clock, InputRequest, Limits, ReportedStatus, Run, RunId, RunStatus,
    service::{create::Mode, input::Error as InputError},
};
use serde_json::{Value, json};
use std::time::Duration;

impl World {
    /// A run of these commands once it waits for people.
    pub(super) async fn waiting(&self, commands: Value) -> Run {
        let run = self.sync(commands).await;
        assert_eq!((run.status, run.reported_status()), (RunStatus::Paused, ReportedStatus::AwaitingInput));
        run
    }

    pub(super) async fn answer(
        &self,
        run: RunId,
        request: &InputRequest,
        answer: Value,
    ) -> Result<(), InputError> {
        self.another_service().answer(&self.app, run, request.id, somebody(), |_| Ok(answer.clone())).await
    }

    pub(super) async fn count(&self, run: RunId, event: &str) -> usize {
        self.events(run).await.iter().filter(|found| found.body.name() == event).count()
    }
}

/// By the sweeper, since no process waits; a late answer is refused, also before the sweeper came.
pub async fn a_request_that_expires_wakes_the_run(world: World) {
    let ask = json!({"ask": "well?", "expires_ms": 600_000});
    let run = world.waiting(json!([{"step": "before"}, ask, {"step": "after"}])).await;
    let (id, request) = (run.new.id, &run.input_requests[0]);
    let head = world.backend.runs.head(id).await.expect("the store answers").expect("the run");
    assert_eq!(head.record.due, request.expires_at, "somebody looks at it then");
    assert_eq!(world.service.sweep(10).await.expect("the store answers").requeued, 0);
    world.clock.forward(Duration::from_mins(11));
    let late = world.answer(id, request, json!("yes")).await;
    assert!(matches!(late, Err(InputError::Invalid(_))), "{late:?}");
    assert_eq!(world.service.sweep(10).await.expect("the store answers").requeued, 1);
    world.work_once(&world.another_service()).await;
    let run = world.get(id).await;
    assert_eq!(run.output.as_deref(), Some(&json!(["before", "expired", "after"])));
    assert_eq!((world.engine.begun("before"), world.engine.begun("after")), (1, 1));
    let names = world.sealed(id).await;
    assert_eq!(world.count(id, "input.expired").await, 1);
    let order = ["run.paused", "input.expired", "run.resumed", "run.completed"];
    assert!(order.is_sorted_by_key(|name| names.iter().position(|found| found == name)), "{names:?}");
}

/// By who executes the run: it never pauses.
pub async fn a_request_expires_while_others_go_on(world: World) {
    let ask = json!([{"ask": "well?", "expires_ms": 200}, {"step": "after"}]);
    let run = world.sync(json!([{"branches": [ask, [{"step": "slow", "wait_ms": 1500}]]}])).await;
    assert_eq!(run.output.as_deref(), Some(&json!([[["expired", "after"], ["slow"]]])));
    assert_eq!((world.engine.begun("slow"), world.engine.begun("after")), (1, 1));
    let names = world.sealed(run.new.id).await;
    assert!(!names.iter().any(|name| name == "run.paused"), "{names:?}");
}

/// What does not wait goes on; what waited goes on without a pause.
pub async fn an_answer_is_heard_while_others_go_on(world: World) {
    let ask = json!([{"ask": "well?"}, {"step": "after"}]);
    let commands = json!([{"branches": [ask, [{"step": "slow", "wait_ms": 1500}]]}]);
    let created = world.created(Mode::Sync, commands).await;
    let id = created.run.new.id;
    world.until(id, has("agent.human_feedback.requested")).await;
    let run = world.get(id).await;
    assert_eq!((run.status, run.reported_status()), (RunStatus::Started, ReportedStatus::AwaitingInput));
    world.answer(id, &run.input_requests[0], json!("yes")).await.expect("it is taken");
    let run = world.service.settled(created, Duration::from_secs(30)).await.expect("the store answers");
    assert_eq!(run.output.as_deref(), Some(&json!([[["yes", "after"], ["slow"]]])));
    assert_eq!((world.engine.begun("slow"), world.engine.begun("after")), (1, 1));
    assert_eq!(world.count(id, "run.paused").await, 0);
    world.sealed(id).await;
}

/// Ids are unique for each question, and the same at each replay.
pub async fn each_question_waits_for_its_own_answer(world: World) {
    let run = world.waiting(json!([{"branches": [[{"ask": "one?"}], [{"ask": "two?"}]]}])).await;
    let id = run.new.id;
    let [one, two] = run.input_requests.as_slice() else { panic!("two questions: {run:?}") };
    assert_ne!(one.id, two.id);
    world.answer(id, two, json!(2)).await.expect("it is taken");
    assert!(matches!(world.answer(id, two, json!(3)).await, Err(InputError::Invalid(_))), "repeated");
    world.work_once(&world.another_service()).await;
    let still = world.get(id).await;
    assert_eq!((still.status, still.input_requests.as_slice()), (RunStatus::Paused, &[one.clone()][..]));
    world.answer(id, one, json!(1)).await.expect("it is taken");
    world.work_once(&world.another_service()).await;
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!([[[1], [2]]])));
    assert_eq!(world.count(id, "agent.human_feedback.requested").await, 2, "none is asked again");
    world.sealed(id).await;
}

/// `limits.run_seconds` is what the run took itself.
pub async fn waiting_for_people_is_not_counted(world: World) {
    let world = world.limited(Limits { run_seconds: 60, ..Limits::default() });
    let (id, request) = asked(&world).await;
    world.clock.forward(Duration::from_hours(5));
    world.answer(id, &request, json!("yes")).await.expect("it is taken");
    world.work_once(&world.another_service()).await;
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!(["before", "yes", "after"])));
}

/// A run may last longer than any of its workers.
pub async fn a_run_is_handed_over_again_and_again(world: World) {
    let steps: Vec<Value> = (0..6).map(|n| json!({"step": n.to_string(), "wait_ms": 250})).collect();
    let created = world.created(Mode::Background, steps.into()).await;
    let id = created.run.new.id;
    for round in 0..40 {
        assert!(round < 39, "it does not get on: {:#?}", world.events(id).await);
        // Each worker has time for a step and a bit.
        let short = world.another_service().until(world.clock.now() + Duration::from_millis(400));
        world.work_once(&short).await;
        if world.get(id).await.status.is_terminal() {
            break;
        }
    }
    assert_eq!(world.get(id).await.status, RunStatus::Completed);
    assert!(world.count(id, "run.resumed").await >= 2);
    for step in 0..6 {
        // What was in flight at a hand-over is begun again; what was recorded is not.
        assert!(world.engine.begun(&step.to_string()) <= 2, "step {step}");
    }
    world.sealed(id).await;
}
