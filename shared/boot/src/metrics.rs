//! Metrics, as lines in CloudWatch's embedded metric format (EMF): the platform extracts metrics from them, and they
//! remain searchable log lines.
//!
//! | metric | unit | dimensions |
//! | --- | --- | --- |
//! | `Runs` | count | `status` |
//! | `RunDuration`: from creation to the end, waiting for people and workers included | ms | `status` |
//! | `QueueWait`: from creation to the first claim | ms | none |
//! | `Takeovers`: claims of runs that another worker had under way | count | none |
//! | `UnreadableRuns`: times that the sweeper could not read a run | count | none |

use runyard_runs::{Clock, SystemClock, service::MEASURES};
use serde_json::{Map, Value, json};
use std::{
    fmt::Debug,
    io::{self, Write},
    sync::Arc,
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

/// Writes a line for each measurement. `namespace` separates the stacks of an account.
pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
    namespace: String,
    write: impl Fn(&[u8]) + Send + Sync + 'static,
) -> impl Layer<S> {
    Emf { namespace, clock: Arc::new(SystemClock), write }
        .with_filter(Targets::new().with_target(MEASURES, Level::DEBUG))
}

/// Writes a whole line to stdout: lines of several threads do not mix.
pub(crate) fn to_stdout(line: &[u8]) {
    // A closed stdout must not stop a run.
    let _ = io::stdout().lock().write_all(line);
}

struct Emf<W> {
    namespace: String,
    clock: Arc<dyn Clock>,
    write: W,
}

/// Fields of an event that are metrics: field, metric, unit.
const METRICS: [(&str, &str, &str); 2] =
    [("wait_ms", "QueueWait", "Milliseconds"), ("duration_ms", "RunDuration", "Milliseconds")];

impl<W> Emf<W> {
    fn line(&self, fields: Fields) -> Option<Value> {
        let Fields(mut line) = fields;
        let measure = line.remove("measure")?;
        let mut metrics = Vec::new();
        for (field, name, unit) in METRICS {
            if let Some(value) = line.remove(field) {
                line.insert(name.to_owned(), value);
                metrics.push(json!({ "Name": name, "Unit": unit }));
            }
        }
        let dimensions = if measure == "ended" { json!([["status"]]) } else { json!([[]]) };
        let counted = match measure.as_str()? {
            "ended" => Some("Runs"),
            "unreadable" => Some("UnreadableRuns"),
            "claimed" if line.remove("takeover") == Some(true.into()) => Some("Takeovers"),
            _ => None,
        };
        if let Some(name) = counted {
            line.insert(name.to_owned(), 1.into());
            metrics.push(json!({ "Name": name, "Unit": "Count" }));
        }
        if metrics.is_empty() {
            return None;
        }
        let directive = json!({ "Namespace": self.namespace, "Dimensions": dimensions, "Metrics": metrics });
        let about = json!({ "Timestamp": self.clock.now().0, "CloudWatchMetrics": [directive] });
        line.insert("_aws".to_owned(), about);
        Some(line.into())
    }
}

impl<S: Subscriber, W: Fn(&[u8]) + Send + Sync + 'static> Layer<S> for Emf<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(line) = self.line(fields) {
            (self.write)(format!("{line}\n").as_bytes());
        }
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use runyard_conformance::{
        memory::{MemoryFiles, MemoryQueue, MemoryRuns, MemoryUsage},
        service::{Backend, World},
    };
    use runyard_runs::service::MEASURES;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::layer::SubscriberExt;

    fn world() -> World {
        let queue = Arc::new(MemoryQueue::default());
        World::new(Backend {
            runs: Arc::new(MemoryRuns::default()),
            files: Arc::new(MemoryFiles::default()),
            usage: Arc::new(MemoryUsage::default()),
            queue,
            receive: Arc::new(|| Box::pin(std::future::pending())),
            keep: Box::new(()),
        })
    }

    /// Collects the lines that this thread writes from now on.
    fn listen() -> (Arc<Mutex<Vec<Value>>>, DefaultGuard) {
        let lines = Arc::new(Mutex::new(Vec::<Value>::new()));
        let write = {
            let lines = Arc::clone(&lines);
            move |line: &[u8]| lines.lock().unwrap().push(serde_json::from_slice(line).unwrap())
        };
        let layer = super::layer("Test".to_owned(), write);
        (lines, tracing::subscriber::set_default(tracing_subscriber::registry().with(layer)))
    }

    #[tokio::test]
    async fn a_run_is_counted_once_when_it_is_claimed_and_once_when_it_ends() {
        let (lines, _default) = listen();
        let world = world();
        let done = world.sync(json!([1])).await;
        world.sync(json!([{ "fail": "no luck" }])).await;
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        assert_eq!(lines.len(), 4, "{lines:#?}");
        for (line, status) in [(&lines[1], "completed"), (&lines[3], "failed")] {
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Namespace"], "Test");
            assert_eq!(directive["Dimensions"], json!([["status"]]));
            let metrics = json!([{ "Name": "RunDuration", "Unit": "Milliseconds" }, { "Name": "Runs", "Unit": "Count" }]);
            assert_eq!(directive["Metrics"], metrics);
            assert_eq!((&line["status"], &line["Runs"]), (&json!(status), &json!(1)), "{line:#}");
            assert!(line["RunDuration"].is_u64() && line["_aws"]["Timestamp"].is_i64(), "{line:#}");
        }
        let claimed = &lines[0];
        assert_eq!(claimed["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
        assert!(claimed["QueueWait"].is_u64() && claimed.get("Takeovers").is_none(), "{claimed:#}");
        assert_eq!(claimed["run"], json!(done.new.id));
    }

    #[test]
    fn a_claim_with_takeover_counts_as_a_takeover() {
        let (lines, _default) = listen();
        tracing::debug!(target: MEASURES, measure = "claimed", app = "a", run = "r", takeover = true);
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        let [line] = lines.as_slice() else { panic!("{lines:#?}") };
        assert_eq!((&line["Takeovers"], &line["run"]), (&json!(1), &json!("r")));
        let metrics = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert_eq!(*metrics, json!([{ "Name": "Takeovers", "Unit": "Count" }]));
    }
}
