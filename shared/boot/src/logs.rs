//! Where log lines go.

use std::io::{self, IsTerminal};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// For people, on stderr.
pub fn for_people() {
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .compact();
    let _ = tracing_subscriber::registry().with(filter("warn,runyard=info")).with(layer).try_init();
}

/// For machines: JSON lines on stdout.
pub fn for_machines() {
    let _ = tracing_subscriber::registry().with(filter("info")).with(json()).try_init();
}

/// For Lambda functions: the same, and lines that CloudWatch makes metrics of, in the namespace that `RUNYARD_METRICS` names,
/// by default `Runyard`; and spans, if a collector is named. Called inside a tokio runtime.
#[cfg(feature = "lambda")]
pub fn for_functions() {
    use crate::metrics;
    let namespace =
        crate::env::Env::of_process().text("RUNYARD_METRICS").unwrap_or_else(|| "Runyard".to_owned());
    let metrics = metrics::layer(namespace, metrics::to_stdout);
    // The level that the function's logging configuration sets, where nobody asks for more precision.
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    let spans = crate::traces::layer();
    let lines = json().with_filter(filter(&level));
    let _ = tracing_subscriber::registry().with(lines).with(metrics).with(spans).try_init();
}

fn json<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(io::stdout)
}

/// `RUNYARD_LOG`, in the syntax of `tracing`'s filters, or `default`.
fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env("RUNYARD_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}
