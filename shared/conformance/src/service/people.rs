//! Questions to people: pending ones, expired ones, and branches that go on.

use super::{World, asked, has, request, somebody};
use runyard_runs::{
    Actor, Clock, EventBody, InputRequest, Limits, Origin, ReportedStatus, Run, RunId, RunStatus,
    service::{
        cancel::Error as CancelError,
        create::{CreateRun, Mode},
        input::Error as InputError,
    },
};
use serde_json::{Value, json};
use std::time::Duration;

impl World {
    /// Executes a run of these commands until it waits for people.
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

/// The sweeper wakes a run whose question has expired, since no process waits; a late answer is refused, also before
/// the sweep.
pub async fn a_request_that_expires_wakes_the_run(world: World) {
    let ask = json!({"ask": "well?", "expires_ms": 600_000});
    let run = world.waiting(json!([{"step": "before"}, ask, {"step": "after"}])).await;
    let (id, request) = (run.new.id, &run.input_requests[0]);
    let head = world.backend.runs.head(id).await.expect("the store answers").expect("the run");
    assert_eq!(head.record.due, request.expires_at, "the run is due then");
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

/// The worker that executes the run records the expiry; the run does not pause.
pub async fn a_request_expires_while_others_go_on(world: World) {
    let ask = json!([{"ask": "well?", "expires_ms": 200}, {"step": "after"}]);
    let run = world.sync(json!([{"branches": [ask, [{"step": "slow", "wait_ms": 1500}]]}])).await;
    assert_eq!(run.output.as_deref(), Some(&json!([[["expired", "after"], ["slow"]]])));
    assert_eq!((world.engine.begun("slow"), world.engine.begun("after")), (1, 1));
    let names = world.sealed(run.new.id).await;
    assert!(!names.iter().any(|name| name == "run.paused"), "{names:?}");
}

/// Branches that do not wait go on; the branch with the question goes on after the answer, and the run never pauses.
pub async fn an_answer_is_heard_while_others_go_on(world: World) {
    let ask = json!([{"ask": "well?"}, {"step": "after"}]);
    let commands = json!([{"branches": [ask, [{"step": "slow", "wait_ms": 1500}]]}]);
    let created = world.created(Mode::Sync, commands).await;
    let id = created.run.new.id;
    world.until(id, has("agent.human_feedback.requested")).await;
    let run = world.get(id).await;
    assert_eq!((run.status, run.reported_status()), (RunStatus::Started, ReportedStatus::AwaitingInput));
    world.answer(id, &run.input_requests[0], json!("yes")).await.expect("the answer is accepted");
    let run = world.service.settled(created, Duration::from_secs(30)).await.expect("the store answers");
    assert_eq!(run.output.as_deref(), Some(&json!([[["yes", "after"], ["slow"]]])));
    assert_eq!((world.engine.begun("slow"), world.engine.begun("after")), (1, 1));
    assert_eq!(world.count(id, "run.paused").await, 0);
    world.sealed(id).await;
}

/// Each question has its own id, which stays the same when the run is replayed.
pub async fn each_question_waits_for_its_own_answer(world: World) {
    let run = world.waiting(json!([{"branches": [[{"ask": "one?"}], [{"ask": "two?"}]]}])).await;
    let id = run.new.id;
    let [one, two] = run.input_requests.as_slice() else { panic!("two questions: {run:?}") };
    assert_ne!(one.id, two.id);
    world.answer(id, two, json!(2)).await.expect("the answer is accepted");
    assert!(matches!(world.answer(id, two, json!(3)).await, Err(InputError::Invalid(_))), "repeated");
    world.work_once(&world.another_service()).await;
    let still = world.get(id).await;
    assert_eq!((still.status, still.input_requests.as_slice()), (RunStatus::Paused, &[one.clone()][..]));
    world.answer(id, one, json!(1)).await.expect("the answer is accepted");
    world.work_once(&world.another_service()).await;
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!([[[1], [2]]])));
    assert_eq!(world.count(id, "agent.human_feedback.requested").await, 2, "no question is repeated");
    world.sealed(id).await;
}

/// On a public app, a caller without a key cannot act on a run that was created with one. The store keeps whether a run
/// was created without a key, and the decisions of its answers.
pub async fn without_a_key_nobody_acts_on_a_key_holders_run(world: World) {
    let commands = json!([{"ask": "well?"}, {"approve": {"amount": 5, "to": "me"}, "editable": ["amount"]}]);
    let anonymous = CreateRun { origin: Origin::Anonymous, ..request(Mode::Sync, commands.clone()) };
    let created = world.service.create(&world.app, anonymous).await.expect("it is accepted");
    let anonymous = world.service.settled(created, Duration::from_secs(30)).await.expect("the store answers");
    let holders = world.waiting(commands).await;
    let without_key = Actor::default;
    let service = world.another_service();
    assert_eq!(world.get(anonymous.new.id).await.new.origin, Origin::Anonymous);
    assert_eq!(world.get(holders.new.id).await.new.origin, Origin::Key);

    let id = holders.new.id;
    let canceled = service.cancel(&world.app, id, &without_key()).await;
    assert!(matches!(canceled, Err(CancelError::KeyNeeded)), "{canceled:?}");
    let asked = holders.input_requests[0].id;
    let answered = service.answer(&world.app, id, asked, without_key(), |_| Ok(json!("yes"))).await;
    assert!(matches!(answered, Err(InputError::KeyNeeded)), "{answered:?}");

    let id = anonymous.new.id;
    let asked = anonymous.input_requests[0].id;
    service
        .answer(&world.app, id, asked, without_key(), |_| Ok(json!("yes")))
        .await
        .expect("the answer is accepted");
    world.work_once(&service).await;
    let run = world.get(id).await;
    let approval = &run.input_requests[0];
    let answer = json!({"approved": true, "params": {"amount": 4}});
    let approved = service.answer(&world.app, id, approval.id, without_key(), |_| Ok(answer.clone())).await;
    assert!(matches!(approved, Err(InputError::KeyNeeded)), "{approved:?}");
    let by = Actor { user_id: Some("u-17".to_owned()), ..somebody() };
    service
        .answer(&world.app, id, approval.id, by.clone(), |_| Ok(answer.clone()))
        .await
        .expect("the answer is accepted");
    world.work_once(&service).await;
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!(["yes", answer])));
    let received = world.events(id).await.into_iter().filter_map(|event| match event.body {
        EventBody::InputReceived { approved, changes, by, .. } => {
            Some((approved, Value::Object(changes), by))
        }
        _ => None,
    });
    let changes = json!({"amount": {"from": 5, "to": 4}});
    assert_eq!(
        received.collect::<Vec<_>>(),
        [(None, json!({}), without_key()), (Some(true), changes, by)],
        "the log has the decisions and who made them"
    );
}

/// A retry with a key of a run that was created without one belongs to the key's holder, except for the user that it
/// names.
pub async fn a_retry_of_an_anonymous_run_is_its_key_holders(world: World) {
    let failing = CreateRun { origin: Origin::Anonymous, ..request(Mode::Sync, json!([{"ask": "?"}])) };
    let created = world.service.create(&world.app, failing).await.expect("it is accepted");
    let id = world.service.settled(created, Duration::from_secs(30)).await.expect("the store answers").new.id;
    world.service.cancel(&world.app, id, &Actor::default()).await.expect("it is canceled without a key");
    let retry = world.service.retry(&world.app, id, None).await.expect("it is accepted").run.new.id;
    assert_eq!(world.get(retry).await.new.origin, Origin::RetriedAnonymous);
    let canceled = world.service.cancel(&world.app, retry, &Actor::default()).await;
    assert!(matches!(canceled, Err(CancelError::KeyNeeded)), "{canceled:?}");
    world.service.cancel(&world.app, retry, &somebody()).await.expect("it is canceled");
}

/// `limits.run_seconds` does not count the time for which a run waits for people.
pub async fn waiting_for_people_is_not_counted(world: World) {
    let world = world.limited(Limits { run_seconds: 60, ..Limits::default() });
    let (id, request) = asked(&world).await;
    world.clock.forward(Duration::from_hours(5));
    world.answer(id, &request, json!("yes")).await.expect("the answer is accepted");
    world.work_once(&world.another_service()).await;
    assert_eq!(world.get(id).await.output.as_deref(), Some(&json!(["before", "yes", "after"])));
}

/// A run may take longer than each of its workers has time.
pub async fn a_run_is_handed_over_again_and_again(world: World) {
    let steps: Vec<Value> = (0..6).map(|n| json!({"step": n.to_string(), "wait_ms": 250})).collect();
    let created = world.created(Mode::Background, steps.into()).await;
    let id = created.run.new.id;
    for round in 0..40 {
        assert!(round < 39, "the run makes no progress: {:#?}", world.events(id).await);
        // Each worker has time for one step and a half.
        let short = world.another_service().until(world.clock.now() + Duration::from_millis(400));
        world.work_once(&short).await;
        if world.get(id).await.status.is_terminal() {
            break;
        }
    }
    assert_eq!(world.get(id).await.status, RunStatus::Completed);
    assert!(world.count(id, "run.resumed").await >= 2);
    for step in 0..6 {
        // A step in flight at a handover is begun again; a recorded step is not.
        assert!(world.engine.begun(&step.to_string()) <= 2, "step {step}");
    }
    world.sealed(id).await;
}
