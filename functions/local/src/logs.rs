//! Where log lines go.

use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// For people, on stderr.
pub(crate) fn for_people() {
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .compact();
    let _ = tracing_subscriber::registry().with(filter("warn,runyard=info")).with(layer).try_init();
}

/// For machines: JSON lines on stdout.
pub(crate) fn for_machines() {
    let layer = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    let _ =
        tracing_subscriber::registry().with(filter("info")).with(layer.with_writer(io::stdout)).try_init();
}

/// `RUNYARD_LOG`, in the syntax of `tracing`'s filters, or `default`.
fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env("RUNYARD_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}
