//! What the use cases promise on every backend: tests of [`RunService`] on the backend's ports, with a scripted engine.
//!
//! A backend calls [`service_conformance!`](crate::service_conformance) with an expression that creates a new
//! [`Backend`].

mod people;
mod quota;
mod races;
mod rests;
mod retry;
mod scripted;
mod suspects;

pub use people::*;
pub use quota::*;
pub use races::*;
pub use rests::*;
pub use retry::*;
pub use scripted::{MovedClock, Scripted};
pub use suspects::*;

use async_trait::async_trait;
use futures::{StreamExt, future::BoxFuture};
use runyard_runs::{
    Actor, App, AppId, AppStore, Clock, FileStore, Limits, OrganizationId, Origin, PageStart, ProjectId,
    ReportedStatus, Run, RunEvent, RunId, RunQueue, RunService, RunStatus, RunStore, Sort, SortBy,
    StorageUsage, StoreError, SystemIds, WorkflowSource,
    service::{
        Ports,
        cancel::Error as CancelError,
        create::{CreateRun, Created, Error as CreateError, Idempotency, Mode},
        get::Error as GetError,
        input::Error as InputError,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use uuid::Uuid;

/// The ports of a backend, new for each test, and how its workers receive messages.
pub struct Backend {
    /// The store of runs.
    pub runs: Arc<dyn RunStore>,
    /// The store of files.
    pub files: Arc<dyn FileStore>,
    /// How much each app has stored.
    pub usage: Arc<dyn StorageUsage>,
    /// The queue of runs for workers.
    pub queue: Arc<dyn RunQueue>,
    /// Waits for the next message of `queue`.
    pub receive: Arc<dyn Fn() -> BoxFuture<'static, RunId> + Send + Sync>,
    /// What must live as long as the test.
    pub keep: Box<dyn Send + Sync>,
}

/// Defines a `#[tokio::test]` for every promise in this module; the expression creates a new [`Backend`].
#[macro_export]
macro_rules! service_conformance {
    ($backend:expr) => {
        $crate::service_conformance!(@each $backend;
            a_sync_run_gives_its_output, a_failed_run_says_why, a_panic_fails_the_run_alone,
            a_background_run_is_created_then_done_by_a_worker, a_stream_gives_every_event_once,
            a_late_follower_sees_the_same, input_is_checked_before_anything_is_stored,
            a_cancel_ends_a_silent_call, a_cancel_of_a_finished_run_changes_nothing,
            a_dropped_caller_changes_nothing, a_question_pauses_and_its_answer_resumes,
            an_answer_is_taken_once, a_paused_run_can_be_canceled, a_shutdown_hands_over_and_nothing_is_repeated,
            an_execution_hands_over_when_its_time_ends, a_silent_worker_claims_what_was_handed_over,
            a_service_is_idle_once_nothing_is_executed,
            a_lost_worker_is_replaced_and_nothing_is_repeated, five_lost_workers_fail_the_run,
            a_run_that_takes_too_long_fails, a_log_that_grows_too_long_fails_the_run, a_paused_run_fails_on_its_last_day, a_key_gives_the_same_run,
            a_key_does_not_serve_two_requests, an_app_has_so_many_runs_at_once, a_foreign_app_sees_nothing,
            events_come_in_pages, pages_of_very_large_events_are_refused, runs_are_listed, a_request_that_expires_wakes_the_run,
            a_request_expires_while_others_go_on, an_answer_is_heard_while_others_go_on,
            each_question_waits_for_its_own_answer, waiting_for_people_is_not_counted,
            without_a_key_nobody_acts_on_a_key_holders_run, a_retry_of_an_anonymous_run_is_its_key_holders,
            a_run_is_handed_over_again_and_again, a_retry_keeps_what_is_done, a_canceled_run_asks_anew_when_it_is_retried,
            what_has_not_failed_is_not_retried, a_key_gives_the_same_retry, a_retry_of_what_is_gone_says_so,
            a_run_rests_without_a_process, a_run_is_woken_on_the_moment, a_follower_sees_a_run_that_rested_end,
            who_comes_early_changes_nothing, answers_wake_a_run_that_rests, an_answer_to_a_run_that_rests_is_not_lost,
            a_request_expires_while_the_run_rests, a_run_that_rests_can_be_canceled, resting_is_counted,
            a_run_that_is_handed_over_while_it_rests_goes_on, an_answer_comes_just_before_a_claim,
            an_answer_comes_just_after_a_claim, suspects_are_executed_one_at_a_time, shutdowns_accuse_nobody,
            an_app_at_its_quota_creates_no_runs, uploads_share_what_is_left
        );
    };
    (@each $backend:expr; $($name:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::service::$name($crate::service::World::new($backend)).await;
            }
        )+
    };
}

/// One app on one backend.
pub struct World {
    backend: Backend,
    engine: Arc<Scripted>,
    clock: Arc<MovedClock>,
    app: Arc<App>,
    service: RunService,
}

struct OneApp(Arc<App>);

#[async_trait]
impl AppStore for OneApp {
    async fn by_host(&self, _host: &str) -> Result<Option<Arc<App>>, StoreError> {
        Ok(Some(Arc::clone(&self.0)))
    }

    async fn version(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError> {
        Ok(Some(Arc::clone(&self.0)).filter(|found| found.id == app && found.version == version))
    }

    async fn list(&self) -> Result<Vec<Arc<App>>, StoreError> {
        Ok(vec![Arc::clone(&self.0)])
    }
}

fn an_app(name: &str, limits: Limits) -> Arc<App> {
    Arc::new(App {
        id: AppId(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())),
        project: ProjectId(Uuid::nil()),
        organization: OrganizationId(Uuid::nil()),
        name: name.to_owned(),
        public: false,
        hosts: Vec::new(),
        version: "1".to_owned(),
        workflow: WorkflowSource { file: "test".to_owned(), id: None, text: "".into() },
        limits,
        retention_days: 1,
        env: Vec::new(),
        secrets: BTreeMap::new(),
        allow_hosts: Vec::new(),
        requirements: BTreeMap::new(),
        prices: BTreeMap::new(),
        cache: None,
    })
}

impl World {
    /// A world with an app that has the default limits.
    pub fn new(backend: Backend) -> Self {
        Self::with(backend, Limits::default())
    }

    fn with(backend: Backend, limits: Limits) -> Self {
        let (engine, clock) = (Arc::<Scripted>::default(), Arc::<MovedClock>::default());
        let app = an_app("conformance", limits);
        let service = Self::service_on(&backend, &engine, &clock, &app);
        Self { backend, engine, clock, app, service }
    }

    fn limited(self, limits: Limits) -> Self {
        Self::with(self.backend, limits)
    }

    fn service_on(
        backend: &Backend,
        engine: &Arc<Scripted>,
        clock: &Arc<MovedClock>,
        app: &Arc<App>,
    ) -> RunService {
        Self::service_of(Arc::clone(&backend.runs), backend, engine, clock, app)
    }

    fn service_of(
        runs: Arc<dyn RunStore>,
        backend: &Backend,
        engine: &Arc<Scripted>,
        clock: &Arc<MovedClock>,
        app: &Arc<App>,
    ) -> RunService {
        RunService::new(Ports {
            runs,
            files: Arc::clone(&backend.files),
            usage: Arc::clone(&backend.usage),
            queue: Arc::clone(&backend.queue),
            apps: Arc::new(OneApp(Arc::clone(app))),
            engine: Arc::clone(engine) as _,
            clock: Arc::clone(clock) as _,
            ids: Arc::new(SystemIds),
        })
    }

    /// A second process on the same backend.
    fn another_service(&self) -> RunService {
        Self::service_on(&self.backend, &self.engine, &self.clock, &self.app)
    }

    /// The first process.
    pub fn service(&self) -> &RunService {
        &self.service
    }

    /// The clock of all its processes.
    pub fn clock(&self) -> &MovedClock {
        &self.clock
    }

    async fn create(&self, mode: Mode, commands: Value) -> Result<Created, CreateError> {
        self.service.create(&self.app, request(mode, commands)).await
    }

    async fn created(&self, mode: Mode, commands: Value) -> Created {
        self.create(mode, commands).await.expect("the run is accepted")
    }

    /// Executes a run of these commands until it ends or pauses.
    pub async fn sync(&self, commands: Value) -> Run {
        let created = self.created(Mode::Sync, commands).await;
        self.service.settled(created, Duration::from_secs(30)).await.expect("the store answers")
    }

    /// Handles the next message with a worker of `service`.
    async fn work_once(&self, service: &RunService) {
        let run = tokio::time::timeout(Duration::from_secs(10), (self.backend.receive)()).await;
        service.work(run.expect("a message comes")).await.expect("the store answers");
    }

    async fn get(&self, id: RunId) -> Run {
        self.service.get(&self.app, id).await.expect("the run exists")
    }

    /// Waits until the run's events satisfy `enough`; panics after about 10 s.
    async fn until(&self, id: RunId, enough: impl Fn(&[RunEvent]) -> bool) {
        for _ in 0..1000 {
            if enough(&self.events(id).await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the condition was never met: {:#?}", self.events(id).await);
    }

    async fn events(&self, id: RunId) -> Vec<RunEvent> {
        let page = self.service.events(&self.app, id, 1, 100, false).await.expect("the run exists");
        page.events
    }

    /// Returns the event names of an ended run. Asserts that there are no gaps, and one terminal event, the last one.
    async fn sealed(&self, id: RunId) -> Vec<String> {
        let events = self.events(id).await;
        for (event, sequence) in events.iter().zip(1..) {
            assert_eq!(event.sequence, sequence, "gapless: {events:#?}");
        }
        let ends = events.iter().filter(|event| event.body.ends_as().is_some()).count();
        assert_eq!(ends, 1, "one terminal event: {events:#?}");
        assert!(
            events.last().expect("events").body.ends_as().is_some(),
            "the terminal event is the last one: {events:#?}"
        );
        events.iter().map(|event| event.body.name().to_owned()).collect()
    }
}

fn request(mode: Mode, commands: Value) -> CreateRun {
    CreateRun {
        input: [("do".to_owned(), commands)].into_iter().collect(),
        user_id: None,
        session_id: None,
        metadata: BTreeMap::new(),
        file_ids: Vec::new(),
        mode,
        idempotency: None,
        origin: Origin::Key,
    }
}

/// A caller with an access key.
pub(crate) fn somebody() -> Actor {
    Actor { key: Some("0123456789abcdef".to_owned()), user_id: None }
}

fn has(name: &'static str) -> impl Fn(&[RunEvent]) -> bool {
    move |events| events.iter().any(|event| event.body.name() == name)
}

/// A synchronous run returns its output.
pub async fn a_sync_run_gives_its_output(world: World) {
    let run = world.sync(json!([1, {"step": "a"}, "b"])).await;
    assert_eq!((run.status, run.output.as_deref()), (RunStatus::Completed, Some(&json!([1, "a", "b"]))));
    assert!(run.ended_at.is_some());
    let stored = world.get(run.new.id).await;
    assert_eq!(stored.output.as_deref(), Some(&json!([1, "a", "b"])));
    assert_eq!(world.sealed(run.new.id).await, ["run.started", "run.checkpoint", "run.completed"]);
}

/// A failed run is returned with its error.
pub async fn a_failed_run_says_why(world: World) {
    let run = world.sync(json!([{"fail": "no luck"}])).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.expect("an error").message, "no luck");
    assert_eq!(world.sealed(run.new.id).await, ["run.started", "run.failed"]);
}

/// A panic of the engine fails its run; the process goes on.
pub async fn a_panic_fails_the_run_alone(world: World) {
    let run = world.sync(json!([{"panic": "oh"}])).await;
    assert_eq!(run.error.expect("an error").code, "internal_error");
    assert_eq!(world.sync(json!([])).await.status, RunStatus::Completed);
}

/// A background run is created, and a worker executes it.
pub async fn a_background_run_is_created_then_done_by_a_worker(world: World) {
    let created = world.created(Mode::Background, json!([{"step": "a"}])).await;
    let id = created.run.new.id;
    assert_eq!(created.run.status, RunStatus::Created);
    assert_eq!(world.get(id).await.status, RunStatus::Created);
    world.work_once(&world.service).await;
    let run = world.service.settled(created, Duration::ZERO).await.expect("the store answers");
    assert_eq!(run.status, RunStatus::Completed, "the run is read once, even with a timeout of zero");
    world.service.work(id).await.expect("a duplicate message does nothing");
    assert_eq!(world.engine.begun("a"), 1);
    world.sealed(id).await;
}

/// A stream has every event once, after it was written to the log.
pub async fn a_stream_gives_every_event_once(world: World) {
    let commands = json!([{"say": "a"}, {"wait_ms": 30}, {"say": "b"}, {"wait_ms": 150}, {"say": "c"}]);
    let created = world.created(Mode::Stream, commands).await;
    let id = created.run.new.id;
    let mut stream = world.service.follow_created(created);
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await {
        let event = event.expect("the store answers");
        let stored = world.events(id).await;
        assert!(stored.contains(&event), "a streamed event is in the log: {event:?}");
        seen.push(event);
    }
    assert_eq!(seen, world.events(id).await);
    world.sealed(id).await;
}

/// A stream that begins after the end of the run, or within its log, has the same events.
pub async fn a_late_follower_sees_the_same(world: World) {
    let run = world.sync(json!([{"say": "a"}, {"say": "b"}])).await;
    let all = world.events(run.new.id).await;
    for after in 0..all.len() as u64 {
        let stream = world.service.follow(&world.app, run.new.id, after).await.expect("the run exists");
        let seen: Vec<RunEvent> = stream.map(|event| event.expect("the store answers")).collect().await;
        assert_eq!(seen, all[usize::try_from(after).expect("small")..]);
    }
}

/// An invalid request stores nothing.
pub async fn input_is_checked_before_anything_is_stored(world: World) {
    let error = world.create(Mode::Sync, json!("x")).await.err();
    let Some(CreateError::Invalid(fields)) = error else { panic!("an invalid request was accepted") };
    assert_eq!(fields["do"], "must be a list of commands");
    assert_eq!(world.service.list(&newest(&world)).await.expect("a page").total_count, 0);
}

/// A cancel ends a run that is waiting for a call outside within 2 s, from any process.
pub async fn a_cancel_ends_a_silent_call(world: World) {
    for service in [world.service.clone(), world.another_service()] {
        let created = world.created(Mode::Sync, json!([{"wait_ms": 60_000}, {"step": "never"}])).await;
        let id = created.run.new.id;
        world.until(id, has("run.started")).await;
        service.cancel(&world.app, id, &somebody()).await.expect("it is canceled");
        let run = tokio::time::timeout(
            Duration::from_secs(20),
            world.service.settled(created, Duration::from_secs(30)),
        );
        let run = run.await.expect("it stops").expect("the store answers");
        assert_eq!(run.status, RunStatus::Canceled);
        assert_eq!(world.sealed(id).await, ["run.started", "run.canceled"]);
    }
    assert_eq!(world.engine.begun("never"), 0);
}

/// Canceling an ended run is a no-op.
pub async fn a_cancel_of_a_finished_run_changes_nothing(world: World) {
    let run = world.sync(json!([])).await;
    world.service.cancel(&world.app, run.new.id, &somebody()).await.expect("it is a no-op");
    assert_eq!(world.get(run.new.id).await.status, RunStatus::Completed);
    world.sealed(run.new.id).await;
}

/// A run goes on if its caller's connection is dropped.
pub async fn a_dropped_caller_changes_nothing(world: World) {
    for mode in [Mode::Sync, Mode::Stream] {
        let created = world.created(mode, json!([{"wait_ms": 100}, "end"])).await;
        let id = created.run.new.id;
        drop(world.service.follow_created(created));
        world.until(id, has("run.completed")).await;
        world.sealed(id).await;
    }
}

async fn asked(world: &World) -> (RunId, runyard_runs::InputRequest) {
    let created =
        world.created(Mode::Sync, json!([{"step": "before"}, {"ask": "well?"}, {"step": "after"}])).await;
    let run = world.service.settled(created, Duration::from_secs(30)).await.expect("the store answers");
    assert_eq!(run.reported_status(), ReportedStatus::AwaitingInput);
    (run.new.id, run.input_requests[0].clone())
}

/// A question pauses the run without a process; the answer resumes it from its log.
pub async fn a_question_pauses_and_its_answer_resumes(world: World) {
    let (id, request) = asked(&world).await;
    assert_eq!(request.prompt, "well?");
    assert_eq!(world.get(id).await.status, RunStatus::Paused);
    world
        .service
        .answer(&world.app, id, request.id, somebody(), |_| Ok(json!("yes")))
        .await
        .expect("the answer is accepted");
    world.work_once(&world.another_service()).await;
    let run = world.get(id).await;
    assert_eq!(run.output.as_deref(), Some(&json!(["before", "yes", "after"])));
    assert_eq!((world.engine.begun("before"), world.engine.begun("after")), (1, 1));
    let names = world.sealed(id).await;
    let order = ["run.paused", "input.received", "run.resumed", "run.completed"];
    assert!(order.is_sorted_by_key(|name| names.iter().position(|found| found == name)), "{names:?}");
}

/// Of concurrent answers to one question, exactly one is accepted.
pub async fn an_answer_is_taken_once(world: World) {
    let (id, request) = asked(&world).await;
    let answers = (0..4).map(|n| {
        let (service, app) = (world.another_service(), Arc::clone(&world.app));
        tokio::spawn(async move {
            service.answer(&app, id, request.id, somebody(), |_| Ok(json!(n))).await.is_ok()
        })
    });
    let taken = futures::future::join_all(answers).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().expect("no panic")).count(), 1);
    let unknown =
        world
            .service
            .answer(&world.app, id, runyard_runs::RequestId(Uuid::nil()), somebody(), |_| Ok(json!(0)));
    assert!(matches!(unknown.await, Err(InputError::Invalid(_))));
    world.work_once(&world.service).await;
    world.sealed(id).await;
    let late = world.service.answer(&world.app, id, request.id, somebody(), |_| Ok(json!(0))).await;
    assert!(matches!(late, Err(InputError::Invalid(_))));
}

/// Canceling a paused run updates its record, too.
pub async fn a_paused_run_can_be_canceled(world: World) {
    let (id, _) = asked(&world).await;
    world.service.cancel(&world.app, id, &somebody()).await.expect("it is canceled");
    world.sealed(id).await;
    let head = world.backend.runs.head(id).await.expect("the store answers").expect("the run");
    assert_eq!(
        (head.record.status, head.record.due, head.record.unanswered),
        (RunStatus::Canceled, None, false)
    );
}

/// A shutdown, as in a deployment, hands over the runs of the process, and another one continues them.
pub async fn a_shutdown_hands_over_and_nothing_is_repeated(world: World) {
    let created = world.created(Mode::Sync, json!([{"step": "a"}, {"wait_ms": 2000}, {"step": "b"}])).await;
    let id = created.run.new.id;
    world.until(id, has("run.checkpoint")).await;
    world.service.shut_down().await;
    assert!(matches!(world.create(Mode::Sync, json!([])).await, Err(CreateError::ShuttingDown)));
    assert_eq!(world.get(id).await.status, RunStatus::Started);
    world.work_once(&world.another_service()).await;
    let run = world.service.settled(created, Duration::from_secs(1)).await.expect("the run is read");
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!((world.engine.begun("a"), world.engine.begun("b")), (1, 1));
    world.sealed(id).await;
}

/// An execution hands over when its time ends, as on a platform that limits the time of a request or message; other
/// executions of the process go on.
pub async fn an_execution_hands_over_when_its_time_ends(world: World) {
    let commands = json!([{"step": "a"}, {"wait_ms": 2000}, {"step": "b"}]);
    let short = world.service.until(world.clock.now() + Duration::from_millis(400));
    let created =
        short.create(&world.app, request(Mode::Sync, commands.clone())).await.expect("it is accepted");
    let id = created.run.new.id;
    let other = world.created(Mode::Sync, json!([{"wait_ms": 1000}, "other"])).await;
    let message =
        tokio::time::timeout(Duration::from_secs(10), (world.backend.receive)()).await.expect("a message");
    assert_eq!(message, id);
    let head = world.backend.runs.head(id).await.expect("the store answers").expect("the run");
    assert_eq!((head.record.status, head.record.owner), (RunStatus::Started, None), "the lease is released");
    // A worker with little time journals what it can, and hands over as well.
    let short = world.another_service().until(world.clock.now() + Duration::from_millis(200));
    short.work(id).await.expect("the store answers");
    assert_eq!(world.get(id).await.status, RunStatus::Started);
    world.work_once(&world.another_service()).await;
    let run = world.service.settled(created, Duration::from_secs(1)).await.expect("the run is read");
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!((world.engine.begun("a"), world.engine.begun("b")), (1, 1));
    world.sealed(id).await;
    let other = world.service.settled(other, Duration::from_secs(10)).await.expect("the store answers");
    assert_eq!(
        world.sealed(other.new.id).await,
        ["run.started", "run.completed"],
        "it had its own time limit"
    );
    // Without any time nothing is begun, and nothing is lost.
    let none = world.another_service().until(world.clock.now());
    let created = none.create(&world.app, request(Mode::Stream, commands)).await.expect("it is accepted");
    world.work_once(&world.service).await;
    world.sealed(created.run.new.id).await;
}

/// A worker that continues a run claims it before its step is done, even if it has nothing else to write: otherwise the
/// sweeper would give the run to another worker.
pub async fn a_silent_worker_claims_what_was_handed_over(world: World) {
    let created = world.created(Mode::Sync, json!([{"step": "a"}, {"compute_ms": 3000}])).await;
    let id = created.run.new.id;
    world.until(id, has("run.checkpoint")).await;
    world.service.shut_down().await;
    let other = world.another_service();
    let claimed = async {
        world.until(id, has("run.resumed")).await;
        assert_eq!(world.get(id).await.status, RunStatus::Started, "claimed long before its step is done");
    };
    tokio::join!(world.work_once(&other), claimed);
    assert_eq!(world.engine.begun("a"), 1);
    world.sealed(id).await;
}

/// `idle` waits for all executions: a process that is frozen between requests must not answer before.
pub async fn a_service_is_idle_once_nothing_is_executed(world: World) {
    let soon = Duration::from_secs(10);
    tokio::time::timeout(soon, world.service.idle()).await.expect("nothing was begun");
    for _ in 0..2 {
        let id = world.created(Mode::Stream, json!([{"wait_ms": 200}])).await.run.new.id;
        tokio::time::timeout(soon, world.service.idle()).await.expect("it ends");
        world.sealed(id).await;
    }
}

/// A worker that hangs, or has died, is replaced; if it continues, it stops.
pub async fn a_lost_worker_is_replaced_and_nothing_is_repeated(world: World) {
    let created = world.created(Mode::Sync, json!([{"step": "a"}, {"step": "b", "wait_ms": 700}, "c"])).await;
    let id = created.run.new.id;
    world.until(id, has("run.checkpoint")).await;
    world.clock.forward(Duration::from_secs(61));
    let other = world.another_service();
    assert_eq!(other.sweep(10).await.expect("the store answers").requeued, 1);
    world.work_once(&other).await;
    let run = world.service.settled(created, Duration::from_secs(5)).await.expect("the store answers");
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(world.engine.begun("a"), 1);
    assert!(world.engine.begun("b") <= 2, "in flight when its worker was lost");
    world.sealed(id).await;
    assert_eq!(other.sweep(10).await.expect("the store answers").requeued, 0);
}

/// A run whose workers die fails after five of them: it is neither stuck nor retried forever.
pub async fn five_lost_workers_fail_the_run(world: World) {
    let world = world.limited(Limits { run_seconds: 86_400, ..Limits::default() });
    let created = world.created(Mode::Sync, json!([{"wait_ms": 600_000}])).await;
    let id = created.run.new.id;
    world.until(id, has("run.started")).await;
    let mut workers = Vec::new();
    let mut requeued = 0;
    for _ in 0..8 {
        world.clock.forward(Duration::from_mins(2));
        let other = world.another_service();
        let swept = other.sweep(10).await.expect("the store answers");
        if swept.failed == 1 {
            break;
        }
        requeued += swept.requeued;
        let epoch = requeued + 1;
        let run =
            tokio::time::timeout(Duration::from_mins(2), (world.backend.receive)()).await.expect("a message");
        workers.push(tokio::spawn(async move { other.work(run).await }));
        world.until(id, |events| events.iter().filter(|event| event.body.is_claim()).count() == epoch).await;
    }
    assert_eq!(requeued, 4);
    assert_eq!(world.get(id).await.error.expect("an error").code, "worker_lost");
    world.sealed(id).await;
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A run that exceeds `limits.run_seconds` fails.
pub async fn a_run_that_takes_too_long_fails(world: World) {
    let world = world.limited(Limits { run_seconds: 1, ..Limits::default() });
    let run = world.sync(json!([{"wait_ms": 60_000}])).await;
    assert_eq!(run.error.expect("an error").code, "timeout");
    world.sealed(run.new.id).await;
}

/// A run whose log exceeds `limits.run_bytes` fails.
pub async fn a_log_that_grows_too_long_fails_the_run(world: World) {
    let world = world.limited(Limits { run_bytes: 10_000, ..Limits::default() });
    let say = |characters| json!({ "say": "x".repeat(characters) });
    let run = world.sync((0..1000).map(|_| say(3000)).collect()).await;
    let error = run.error.expect("an error");
    assert_eq!(error.code, "limit_exceeded");
    assert!(error.message.contains("limits.run_bytes"), "{error}");
    assert!(world.events(run.new.id).await.len() < 10);
    world.sealed(run.new.id).await;
    assert_eq!(world.sync((0..9).map(|_| say(100)).collect()).await.status, RunStatus::Completed);
}

/// A paused run fails when it expires.
pub async fn a_paused_run_fails_on_its_last_day(world: World) {
    let (id, _) = asked(&world).await;
    assert_eq!(world.service.sweep(10).await.expect("the store answers").requeued, 0);
    world.clock.forward(Duration::from_hours(25) + world.app.longest_run());
    assert_eq!(world.service.sweep(1).await.expect("the store answers").failed, 1);
    world.service.cancel(&world.app, id, &somebody()).await.ok();
    if let Ok(run) = world.service.get(&world.app, id).await {
        assert_eq!(run.error.expect("an error").code, "expired");
    }
}

fn keyed(key: &str, request_hash: u8, commands: Value) -> CreateRun {
    let idempotency =
        Idempotency { key: key.to_owned(), caller: "me".to_owned(), request: [request_hash; 32] };
    CreateRun { idempotency: Some(idempotency), ..request(Mode::Sync, commands) }
}

/// Requests with the same idempotency key get the same run, also if they are concurrent.
pub async fn a_key_gives_the_same_run(world: World) {
    let first = (0..4).map(|_| world.service.create(&world.app, keyed("k", 1, json!([{"step": "a"}]))));
    let first = futures::future::join_all(first).await;
    let ids: Vec<RunId> =
        first.iter().map(|created| created.as_ref().expect("accepted").run.new.id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(first.iter().filter(|created| !created.as_ref().expect("accepted").replayed).count(), 1);
    world.until(ids[0], has("run.completed")).await;
    assert_eq!(world.engine.begun("a"), 1);
    let again =
        world.service.create(&world.app, keyed("k", 1, json!([{"step": "a"}]))).await.expect("accepted");
    assert_eq!((again.replayed, again.run.status), (true, RunStatus::Completed));
    world.clock.forward(Duration::from_hours(24) + Duration::from_secs(1));
    let later = world.service.create(&world.app, keyed("k", 1, json!([]))).await.expect("accepted");
    assert!(!later.replayed, "a key is kept for 24 h");
}

/// Another request with the same idempotency key is a conflict (409).
pub async fn a_key_does_not_serve_two_requests(world: World) {
    let first = world.service.create(&world.app, keyed("k", 1, json!([]))).await.expect("accepted");
    let other = world.service.create(&world.app, keyed("k", 2, json!([1]))).await;
    assert!(matches!(other, Err(CreateError::Conflict { run }) if run == first.run.new.id));
}

/// `limits.concurrent_runs`: a synchronous run is refused (429), a background run waits in the queue.
pub async fn an_app_has_so_many_runs_at_once(world: World) {
    let world = world.limited(Limits { concurrent_runs: 1, ..Limits::default() });
    let first = world.created(Mode::Sync, json!([{"wait_ms": 800}])).await;
    assert!(matches!(world.create(Mode::Sync, json!([])).await, Err(CreateError::TooManyRuns { .. })));
    let waiting = world.created(Mode::Background, json!([])).await.run.new.id;
    world.work_once(&world.service).await;
    assert_eq!(world.get(waiting).await.status, RunStatus::Created);
    world.service.settled(first, Duration::from_secs(10)).await.expect("the store answers");
    for _ in 0..20 {
        world.work_once(&world.service).await;
        if world.get(waiting).await.status == RunStatus::Completed {
            return;
        }
    }
    panic!("the background run was never executed");
}

/// Another app's run is not found (404).
pub async fn a_foreign_app_sees_nothing(world: World) {
    let id = world.sync(json!([])).await.new.id;
    let foreign = an_app("foreign", Limits::default());
    assert!(matches!(world.service.get(&foreign, id).await, Err(GetError::NotFound)));
    assert!(matches!(world.service.cancel(&foreign, id, &somebody()).await, Err(CancelError::NotFound)));
    assert!(matches!(
        world.service.events(&foreign, id, 1, 25, false).await,
        Err(runyard_runs::service::events::Error::NotFound)
    ));
    assert!(matches!(world.service.follow(&foreign, id, 0).await, Err(GetError::NotFound)));
}

/// Events are paged in both directions.
pub async fn events_come_in_pages(world: World) {
    let steps: Vec<Value> = (0..23).map(|n| json!({ "step": n.to_string() })).collect();
    let id = world.sync(steps.into()).await.new.id;
    let all = world.events(id).await;
    assert_eq!(all.len(), 25);
    for descending in [false, true] {
        let mut walked = Vec::new();
        for page in 1..=4 {
            let page = world.service.events(&world.app, id, page, 10, descending).await.expect("a page");
            assert_eq!(page.total_count, 25);
            walked.extend(page.events);
        }
        if descending {
            walked.reverse();
        }
        assert_eq!(walked, all);
    }
}

/// A page of very large events is refused, unless it has one event. Large events have separate entries, so that a read
/// of one does not read all.
pub async fn pages_of_very_large_events_are_refused(world: World) {
    use runyard_runs::service::events::Error;
    let say = "x".repeat(900_000);
    let id = world.sync((0..6).map(|_| json!({ "say": say })).collect()).await.new.id;
    let page = async |page, size| world.service.events(&world.app, id, page, size, false).await;
    assert!(matches!(page(1, 25).await, Err(Error::TooLarge)));
    let (some, last) =
        (page(1, 5).await.expect("the page is small enough"), page(8, 1).await.expect("the end"));
    assert_eq!((some.events.len(), some.total_count, last.events.len()), (5, 8, 1));
    let large = world.sync(json!([{ "say": "x".repeat(5_000_000) }])).await.new.id;
    let page = world
        .service
        .events(&world.app, large, 2, 1, false)
        .await
        .expect("a page of one event is never refused");
    assert_eq!(page.events.len(), 1);
    let mut entries = 0;
    let mut next = 1;
    while next <= 8 {
        let range = runyard_runs::LogRange { from: next, to: u64::MAX, bytes: 0 };
        let log = world.backend.runs.read_range(id, range).await.expect("it is read").expect("the run");
        let entry = &log.entries[0];
        let bytes: usize = entry.events.iter().map(runyard_runs::Logged::bytes).sum();
        assert!(bytes <= 1 << 20 || entry.events.len() == 1, "{bytes} bytes");
        (entries, next) = (entries + 1, entry.last() + 1);
    }
    assert!(entries >= 6, "{entries}");
}

fn newest(world: &World) -> runyard_runs::ListQuery {
    runyard_runs::ListQuery {
        app: world.app.id,
        statuses: Vec::new(),
        user_id: None,
        session_id: None,
        metadata: Vec::new(),
        sort: vec![Sort { by: SortBy::StartedAt, descending: true }],
        start: PageStart::Offset(0),
        page_size: 10,
    }
}

/// Lists have the current status of runs.
pub async fn runs_are_listed(world: World) {
    let done = world.sync(json!(["x"])).await;
    // Ids of one millisecond are random, so the order of runs that were created within it is not defined.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let (paused, _) = asked(&world).await;
    let page = world.service.list(&newest(&world)).await.expect("a page");
    assert_eq!(page.runs.iter().map(|run| run.new.id).collect::<Vec<_>>(), [paused, done.new.id]);
    assert_eq!(page.runs[0].reported_status(), ReportedStatus::AwaitingInput);
    assert_eq!(page.runs[1].output.as_deref(), Some(&json!(["x"])));
    let mut query = newest(&world);
    query.statuses = vec![ReportedStatus::AwaitingInput];
    assert_eq!(world.service.list(&query).await.expect("a page").runs[0].new.id, paused);
    query.statuses = vec![ReportedStatus::Paused];
    assert_eq!(world.service.list(&query).await.expect("a page").total_count, 0);
}
