//! Operators that wait, or that contain other nodes: what they record, and what a replay repeats.

mod support;

use async_trait::async_trait;
use runyard_engine::{PythonError, PythonRunner};
use runyard_runs::{AppId, Clock, EventBody, Logged, Outcome, OutputCache, Timestamp};
use serde_json::{Map, Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{Case, answer, app};
use tokio::time::Instant;

/// The runtime's clock, which tests can pause, from a given start time.
struct RuntimeClock(Instant, i64);

impl RuntimeClock {
    fn at(seconds: i64) -> Arc<Self> {
        Arc::new(Self(Instant::now(), seconds * 1_000))
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.1) + self.0.elapsed()
    }
}

const HOUR: &str = "
nodes:
  d: {type: dynamiq.nodes.operators.Delay, duration_seconds: 3600}
flows: {f: {nodes: [d]}}
workflows: {w: {flow: f}}
";

/// Runs the one-hour Delay from a journal, at a time in seconds. Returns its output, the elapsed time, and the events.
async fn delayed(journal: Vec<Logged>, at: i64) -> (Value, Duration, Vec<Logged>) {
    let case = Case::text(HOUR).input(json!({"x": 1})).journal(journal).clock(RuntimeClock::at(at));
    let began = Instant::now();
    let results = case.run().await;
    (results["output"]["d"]["output"].clone(), began.elapsed(), case.events())
}

#[tokio::test(start_paused = true)]
async fn a_delay_keeps_its_end_time_after_a_restart() {
    let (output, took, events) = delayed(Vec::new(), 0).await;
    let waited = |seconds: f64| json!({"x": 1, "waited_until": "1970-01-01T01:00:00+00:00", "waited_seconds": seconds});
    assert_eq!((output, took.as_secs()), (waited(3600.0), 3600));

    let begun: Vec<Logged> =
        events.iter().filter(|logged| logged.key.as_deref() == Some("node:d:wait")).cloned().collect();
    assert_eq!(begun.len(), 1);
    let (output, took, _) = delayed(begun.clone(), 3000).await;
    assert_eq!((output, took.as_secs()), (waited(3600.0), 600), "another worker waits for what is left");
    let (output, took, _) = delayed(begun, 10_000).await;
    assert_eq!((output, took.as_secs()), (waited(10_000.0), 0), "what has passed is not waited for");
    let (output, took, _) = delayed(events, 20_000).await;
    assert_eq!((output, took.as_secs()), (waited(3600.0), 0), "a wait that ended is not done again");
}

/// A flow of `nodes`, and the flow `sub`, which [`SUB`] names.
fn flow(nodes: &str, of: &str) -> String {
    format!(
        "nodes:\n{nodes}\nflows: {{f: {{nodes: [{of}]}}, sub: {{nodes: [d]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
    )
}

const DELAY: &str = "  d: {type: dynamiq.nodes.operators.Delay, duration_seconds: 3600}";
const SLOW: &str = "  p: {type: dynamiq.nodes.tools.Python, code: x}";
const SUB: &str = "  s: {type: dynamiq.nodes.operators.SubWorkflow, flow: sub}";

/// A Python runner that takes this long.
struct Slow(Duration);

#[async_trait]
impl PythonRunner for Slow {
    async fn run(
        &self,
        _: AppId,
        _: &str,
        _: &Map<String, Value>,
        _: bool,
        _: Option<Duration>,
    ) -> Result<Value, PythonError> {
        tokio::time::sleep(self.0).await;
        Ok(json!("done"))
    }
}

/// The outcome of an execution that begins `at` this time, by a worker that can rest; with the elapsed seconds and the
/// events.
async fn outcome(case: Case, at: i64) -> (Outcome, u64, Vec<Logged>) {
    let case = case.clock(RuntimeClock::at(at));
    let began = Instant::now();
    let outcome = case.outcome().await;
    (outcome, began.elapsed().as_secs(), case.events())
}

fn resting(seconds: i64) -> Outcome {
    Outcome::Resting(Timestamp(seconds * 1_000))
}

#[tokio::test(start_paused = true)]
async fn a_run_rests_if_no_node_works() {
    for (nodes, of) in [(DELAY.to_owned(), "d"), (format!("{DELAY}\n{SUB}"), "s")] {
        let text = flow(&nodes, of);
        let (left, took, journal) = outcome(Case::text(&text), 0).await;
        assert_eq!((left, took), (resting(3600), 0), "{text}");
        let again = || Case::text(&text).journal(journal.clone());
        let (early, _, new) = outcome(again(), 3000).await;
        assert_eq!((early, new.as_slice()), (resting(3600), &[][..]), "an early execution records nothing");
        let (Outcome::Completed(_), took, _) = outcome(again(), 3550).await else { panic!("it rests again") };
        assert_eq!(took, 50, "what is left is not worth leaving");
        let (Outcome::Completed(_), took, _) = outcome(again(), 3601).await else { panic!("it rests again") };
        assert_eq!(took, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_delay_sleeps() {
    let text = HOUR.replace("3600", "60");
    let (Outcome::Completed(_), took, _) = outcome(Case::text(&text), 0).await else { panic!("it was left") };
    assert_eq!(took, 60);
}

#[tokio::test(start_paused = true)]
async fn a_delay_passes_while_other_nodes_work() {
    let text = flow(&format!("{DELAY}\n{SLOW}\n{SUB}"), "d, p, s");
    let slow = |seconds| Arc::new(Slow(Duration::from_secs(seconds)));
    let (left, took, _) = outcome(Case::text(&text).python(slow(600)), 0).await;
    assert_eq!((left, took), (resting(3600), 600), "left once the others are done");
    let (ended, took, events) = outcome(Case::text(&text).python(slow(7200)), 0).await;
    assert!(matches!(ended, Outcome::Completed(_)), "{ended:?}");
    let order: Vec<String> = events
        .into_iter()
        .filter(|logged| matches!(logged.body, EventBody::NodeCompleted { .. }))
        .filter_map(|logged| logged.key)
        .collect();
    assert_eq!(took, 7200);
    assert_eq!(order.last().map(String::as_str), Some("node:p:done"), "the delays ended before: {order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_rests_until_the_first_of_several_times() {
    let text = flow(
        "  m: {type: dynamiq.nodes.operators.Map, max_workers: 3, node: {type: dynamiq.nodes.operators.Delay}}",
        "m",
    );
    let wait = |seconds: i64| json!({"duration_seconds": seconds});
    let input = |seconds: [i64; 3]| json!({"input": seconds.map(wait)});
    let (left, took, journal) = outcome(Case::text(&text).input(input([900, 30, 300])), 0).await;
    assert_eq!((left, took), (resting(300), 30), "a short one is slept first");
    let again = Case::text(&text).input(input([900, 30, 300])).journal(journal.clone());
    let (left, _, more) = outcome(again, 300).await;
    assert_eq!(left, resting(900));
    let both: Vec<Logged> = journal.into_iter().chain(more).collect();
    let again = Case::text(&text).input(input([900, 30, 300])).journal(both);
    let (Outcome::Completed(output), _, _) = outcome(again, 900).await else { panic!("all have passed") };
    assert_eq!(output["output"][1]["waited_seconds"], 30.0, "{output}");
    // In sequence, each from the end of the previous one.
    let text = text.replace("max_workers: 3", "max_workers: 1");
    let (left, _, _) = outcome(Case::text(&text).input(input([900, 30, 300])), 0).await;
    assert_eq!(left, resting(900));
}

#[tokio::test(start_paused = true)]
async fn a_question_and_a_delay_wait_together() {
    let asks = "  q: {type: dynamiq.nodes.tools.Python, code: x, approval: {enabled: true}}";
    let text = flow(&format!("{DELAY}\n{asks}"), "d, q");
    let (left, _, journal) = outcome(Case::text(&text), 0).await;
    assert_eq!(left, resting(3600), "the run does not pause before");
    let asked = |events: &[Logged]| events.iter().filter(|logged| logged.body.request().is_some()).count();
    assert_eq!(asked(&journal), 1);
    let (later, _, new) = outcome(Case::text(&text).journal(journal.clone()), 3601).await;
    assert_eq!((later, asked(&new)), (Outcome::Suspended, 0), "now it waits for the person only");
    let answers = journal.iter().filter_map(|asked| answer(asked, &json!({"q": {"is_approved": true}})));
    let answered: Vec<Logged> = journal.iter().cloned().chain(answers).collect();
    let python = Counting::new(0);
    let case = Case::text(&text).journal(answered).python(Arc::clone(&python) as Arc<dyn PythonRunner>);
    assert_eq!(outcome(case, 60).await.0, resting(3600));
    assert_eq!(python.calls(), 1, "the answered branch continued");
}

#[tokio::test(start_paused = true)]
async fn a_run_does_not_rest_beyond_a_timeout() {
    let limited = |seconds: u32| {
        let sub =
            format!("{SUB}, error_handling: {{timeout_seconds: {seconds}}}}}").replace("}, error", ", error");
        flow(&format!("{DELAY}\n{sub}"), "s")
    };
    let (failed, took, _) = outcome(Case::text(&limited(1800)), 0).await;
    assert!(matches!(failed, Outcome::Failed(_)), "{failed:?}");
    assert_eq!(took, 1800);
    assert_eq!(outcome(Case::text(&limited(7200)), 0).await.0, resting(3600));
}

/// Fails the first calls, then returns the number of the call.
struct Counting {
    failures: usize,
    calls: AtomicUsize,
}

impl Counting {
    fn new(failures: usize) -> Arc<Self> {
        Arc::new(Self { failures, calls: AtomicUsize::new(0) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl PythonRunner for Counting {
    async fn run(
        &self,
        _: AppId,
        _: &str,
        _: &Map<String, Value>,
        _: bool,
        _: Option<Duration>,
    ) -> Result<Value, PythonError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call <= self.failures { Err(PythonError::Raised("not yet".into())) } else { Ok(json!(call)) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_of_a_sub_workflow_runs_its_nodes_again() {
    let text = "
nodes:
  inner: {type: dynamiq.nodes.tools.Python, code: x}
  sub: {type: dynamiq.nodes.operators.SubWorkflow, flow: g, error_handling: {max_retries: 2}}
flows: {g: {nodes: [inner]}, f: {nodes: [sub]}}
workflows: {w: {flow: f}}
";
    let python = Counting::new(1);
    let case = Case::text(text).python(Arc::clone(&python) as Arc<dyn PythonRunner>);
    let results = case.run().await;
    assert_eq!(results["output"]["sub"]["output"], json!({"inner": {"content": 2}}), "{results}");
    let ended: Vec<String> = case
        .events()
        .into_iter()
        .filter(|logged| {
            matches!(logged.body, EventBody::NodeCompleted { .. } | EventBody::NodeFailed { .. })
        })
        .filter_map(|logged| logged.key)
        .collect();
    assert_eq!(ended, ["node:sub/inner:done", "node:sub~1/inner:done", "node:sub:done"]);

    // A worker that died before the end of the sub-workflow was recorded.
    let journal: Vec<Logged> =
        case.events().into_iter().filter(|logged| logged.key.as_deref() != Some("node:sub:done")).collect();
    let replay = Case::text(text).python(Arc::clone(&python) as Arc<dyn PythonRunner>).journal(journal);
    let replayed = replay.run().await;
    assert_eq!((&replayed["output"], python.calls()), (&results["output"], 2), "nothing is done again");
}

#[tokio::test(start_paused = true)]
async fn outputs_are_cached_if_the_app_and_the_node_allow_it() {
    let text = "
nodes:
  kept: {type: dynamiq.nodes.tools.Python, code: x, caching: {enabled: true}, input_transformer: {selector: {x: $.x}}}
  each: {type: dynamiq.nodes.operators.Map, node: {type: dynamiq.nodes.tools.Python, code: x, caching: {enabled: true}}, input_transformer: {selector: {input: $.items}}}
flows: {f: {nodes: [kept, each]}}
workflows: {w: {flow: f}}
";
    let python = Counting::new(0);
    let mut app = app(text);
    app.cache = Some(OutputCache { seconds: 60, entries: 3 });
    let case = |x: i64| {
        let items = json!([{"x": 1}, {"x": 1}, {"x": 2}]);
        Case::text(text)
            .input(json!({"x": x, "items": items}))
            .python(Arc::clone(&python) as Arc<dyn PythonRunner>)
    };
    let engine = case(1).engine();
    for (x, calls, why) in [
        (1, 3, "of three items two are the same"),
        (1, 3, "all of it is known"),
        (5, 4, "another input"),
        (1, 7, "three are kept, so each new one evicts one that is needed next"),
    ] {
        let ended = engine.results(&app, &case(x).context()).await.expect("the file loads");
        assert_eq!(ended.to_json()["status"], "success");
        assert_eq!(python.calls(), calls, "{why}");
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    engine.results(&app, &case(1).context()).await.expect("the file loads");
    assert_eq!(python.calls(), 10, "a minute is over");
    app.cache = None;
    app.version = "2".into();
    engine.results(&app, &case(1).context()).await.expect("the file loads");
    engine.results(&app, &case(1).context()).await.expect("the file loads");
    assert_eq!(python.calls(), 18, "without a cache, no output is kept");
}
