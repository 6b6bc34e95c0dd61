//! Operators that wait, hold others or are held: what they record, and what a replay does again.

mod support;

use async_trait::async_trait;
use runyard_engine::{PythonError, PythonRunner};
use runyard_runs::{Clock, EventBody, Logged, OutputCache, Timestamp};
use serde_json::{Map, Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{Case, app};
use tokio::time::Instant;

/// The time of the runtime, which tests can pause, from some moment on.
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

/// Runs the hour's Delay from a journal, at a moment; gives its output, and how long that took.
async fn delayed(journal: Vec<Logged>, at: i64) -> (Value, Duration, Vec<Logged>) {
    let case = Case::text(HOUR).input(json!({"x": 1})).journal(journal);
    let engine = case.engine().by_clock(RuntimeClock::at(at));
    let began = Instant::now();
    let results = engine.results(&app(HOUR), &case.context()).await.expect("the file loads").to_json();
    (results["output"]["d"]["output"].clone(), began.elapsed(), case.events())
}

#[tokio::test(start_paused = true)]
async fn a_delay_waits_once_for_the_moment_that_it_began_with() {
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

/// Fails so often, then gives the number of the call.
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
async fn a_further_try_of_a_sub_workflow_runs_its_nodes_again() {
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
async fn outputs_are_kept_where_the_app_and_the_node_say_so() {
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
        (1, 7, "three are kept, so each that comes sends away one that is needed next"),
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
    assert_eq!(python.calls(), 18, "without a cache, nothing is kept");
}
