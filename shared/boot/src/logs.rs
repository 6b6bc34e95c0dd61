//! Where log lines go.

use crate::printable;
use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// Writes log lines for people, to stderr.
pub fn for_people() {
    let layer = fmt::layer()
        .with_writer(|| EscapingWriter { out: io::stderr(), form: Form::Text })
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .compact();
    let _ = tracing_subscriber::registry().with(filter("warn,runyard=info")).with(layer).try_init();
}

/// Writes log lines as JSON, to stdout.
pub fn for_machines() {
    let _ = tracing_subscriber::registry().with(filter("info")).with(json()).try_init();
}

/// For Lambda functions: writes log lines as JSON, and metrics for CloudWatch, in the namespace of `RUNYARD_METRICS`, by
/// default `Runyard`; sends spans, if a collector is set. Must be called inside a tokio runtime.
#[cfg(feature = "lambda")]
pub fn for_functions() {
    use crate::metrics;
    let namespace =
        crate::env::Env::of_process().text("RUNYARD_METRICS").unwrap_or_else(|| "Runyard".to_owned());
    let metrics = metrics::layer(namespace, metrics::to_stdout);
    // The level of the function's logging configuration, unless `RUNYARD_LOG` is set.
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
        .with_writer(|| EscapingWriter { out: io::stdout(), form: Form::Json })
}

/// Writes events, each in one call, with untrusted text in them made harmless.
struct EscapingWriter<W> {
    out: W,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let shown = match self.form {
            Form::Text => Cow::Owned(colored(&text)),
            Form::Json => printable::json(&text),
        };
        self.out.write_all(shown.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Formats an event for people: keeps its colors, and indents its further lines.
fn colored(event: &str) -> String {
    let (event, end) = event.strip_suffix('\n').map_or((event, ""), |event| (event, "\n"));
    let mut shown = String::with_capacity(event.len() + 1);
    let mut pieces = event.split("\u{1b}[");
    shown.push_str(&printable::indented(pieces.next().unwrap_or_default(), "    "));
    for piece in pieces {
        let color = piece.find(|char: char| !char.is_ascii_digit() && char != ';');
        match color.filter(|at| piece[*at..].starts_with('m')) {
            Some(at) => {
                let (color, rest) = piece.split_at(at + 1);
                shown.push_str("\u{1b}[");
                shown.push_str(color);
                shown.push_str(&printable::indented(rest, "    "));
            }
            None => shown.push_str(&printable::indented(&format!("\u{1b}[{piece}"), "    ")),
        }
    }
    shown + end
}

/// Returns the filter of `RUNYARD_LOG`, in the syntax of `tracing`, or `default`.
fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env("RUNYARD_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_no_control_sequences_but_colors() {
        let event = "\u{1b}[32m INFO\u{1b}[0m app\u{1b}[2Jx\u{1b}]0;t\u{7}\u{9b}31m\n INFO fake\u{1b}[\n";
        assert_eq!(
            colored(event),
            "\u{1b}[32m INFO\u{1b}[0m app\\u{1b}[2Jx\\u{1b}]0;t\\u{7}\\u{9b}31m\n     INFO fake\\u{1b}[\n"
        );
        let mut out = Vec::new();
        let mut plain = EscapingWriter { out: &mut out, form: Form::Json };
        plain.write_all("{\"app\":\"\u{9b}\u{202e}\"}\n".as_bytes()).unwrap();
        assert_eq!(out, b"{\"app\":\"\\u009b\\u202e\"}\n");
    }
}
