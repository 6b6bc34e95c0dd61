//! A run's events, for a person at a terminal.

use anstyle::{AnsiColor, Style};
use runyard_boot::printable;
use serde_json::Value;
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};
use tokio::time::Instant;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const ASKS: Style = AnsiColor::Yellow.on_default();

/// Shows events on stderr as they arrive: a line per finished node, an LLM's text as it is streamed, and on a terminal
/// the nodes that are running.
pub(crate) struct Progress<W: Write> {
    out: W,
    live: bool,
    running: Vec<(String, String, Instant)>,
    /// The source of the text in the current line, while that line is not ended.
    writing: Option<String>,
    status_shown: bool,
}

impl Progress<anstream::AutoStream<io::Stderr>> {
    /// Writes to stderr.
    pub(crate) fn stderr() -> Self {
        Progress::new(anstream::stderr(), io::stderr().is_terminal())
    }
}

impl<W: Write> Progress<W> {
    /// Writes to `out`; `live` if its last line can be overwritten.
    pub(crate) fn new(out: W, live: bool) -> Self {
        Self { out, live, running: Vec::new(), writing: None, status_shown: false }
    }

    /// Shows one event. Write errors are ignored: a closed stderr must not end a run.
    pub(crate) fn show(&mut self, event: &Value) {
        let data = &event["data"];
        match event["type"].as_str().unwrap_or_default() {
            "run.started" => self.line(&format!("{BOLD}run {}{BOLD:#}", text(&data["id"]))),
            "run.resumed" => self.line(&format!("{DIM}resumed{DIM:#}")),
            "run.paused" => self.line(&format!("{ASKS}paused{ASKS:#}, waiting for an answer")),
            "run.completed" => self.line(&format!("{GOOD}completed{GOOD:#}")),
            "run.canceled" => self.line(&format!("{BAD}canceled{BAD:#}")),
            "run.failed" => {
                self.line(&format!("{BAD}failed{BAD:#}: {}", text(&data["error"]["message"])));
            }
            "node.started" => {
                let node = &data["node"];
                self.running.push((text(&node["id"]), name(node), Instant::now()));
                self.status();
            }
            "node.completed" => {
                let took = self.done(&data["node"]);
                self.line(&format!("  {GOOD}✓{GOOD:#} {}{DIM}{took}{DIM:#}", name(&data["node"])));
            }
            "node.failed" => {
                let took = self.done(&data["node"]);
                let (name, why) = (name(&data["node"]), text(&data["error"]["message"]));
                self.line(&format!("  {BAD}✗{BAD:#} {name}{DIM}{took}{DIM:#}: {why}"));
            }
            "node.skipped" => {
                self.done(&data["node"]);
                self.line(&format!("  {DIM}– {} skipped{DIM:#}", name(&data["node"])));
            }
            "llm.delta" => self.text(&name(&data["node"]), &data["delta"]),
            "agent.reasoning.delta" => self.text("reasoning", &data["delta"]),
            "agent.answer.delta" => self.text("answer", &data["delta"]),
            "agent.tool_call.started" => {
                self.line(&format!(
                    "  {DIM}→{DIM:#} {} {DIM}{}{DIM:#}",
                    name(&data["tool"]),
                    short(&data["input"])
                ));
            }
            "agent.tool_call.completed" => {
                self.line(&format!(
                    "  {GOOD}←{GOOD:#} {} {DIM}{}{DIM:#}",
                    name(&data["tool"]),
                    short(&data["result"])
                ));
            }
            "agent.tool_call.failed" => {
                let why = text(&data["error"]["message"]);
                self.line(&format!("  {BAD}←{BAD:#} {}: {why}", name(&data["tool"])));
            }
            "agent.human_feedback.requested" | "approval_request.created" => {
                let request = &data["request"];
                self.line(&format!(
                    "  {ASKS}?{ASKS:#} {} {DIM}({}){DIM:#}",
                    text(&request["prompt"]),
                    text(&request["id"])
                ));
            }
            "agent.message.sent" => {
                self.line(&format!("  {DIM}i{DIM:#} {}", text(&data["message"])));
            }
            "input.received" => match (&data["approved"], data["changes"].as_object()) {
                (Value::Bool(false), _) => self.line(&format!("  {BAD}✗{BAD:#} denied")),
                (_, Some(_)) => {
                    self.line(&format!("  {GOOD}✓{GOOD:#} approved {DIM}{}{DIM:#}", short(&data["changes"])));
                }
                (Value::Bool(true), None) => self.line(&format!("  {GOOD}✓{GOOD:#} approved")),
                _ => self.line(&format!("  {GOOD}✓{GOOD:#} answered")),
            },
            "input.expired" => self.line(&format!("  {BAD}✗{BAD:#} nobody answered in time")),
            _ => {}
        }
        let _ = self.out.flush();
    }

    /// Ends the current line or removes the status line.
    pub(crate) fn finish(&mut self) {
        self.running.clear();
        self.clear();
        let _ = self.out.flush();
    }

    fn done(&mut self, node: &Value) -> String {
        let id = text(&node["id"]);
        let Some(index) = self.running.iter().position(|(running, ..)| *running == id) else {
            return String::new();
        };
        let took = self.running.remove(index).2.elapsed();
        // Replayed events take no time, and short times are noise.
        if took < Duration::from_millis(100) {
            String::new()
        } else {
            format!(" {:.1} s", took.as_secs_f64())
        }
    }

    fn line(&mut self, line: &str) {
        self.clear();
        let _ = writeln!(self.out, "{line}");
        self.status();
    }

    fn text(&mut self, source: &str, delta: &Value) {
        if self.writing.as_deref() != Some(source) {
            self.clear();
            let _ = write!(self.out, "  {DIM}{source}:{DIM:#} ");
            self.writing = Some(source.to_owned());
        }
        let _ = write!(self.out, "{}", text(delta));
    }

    /// Ends a line of streamed text, or removes the status line.
    fn clear(&mut self) {
        if self.writing.take().is_some() {
            let _ = writeln!(self.out);
        }
        if std::mem::take(&mut self.status_shown) {
            let _ = write!(self.out, "\r\x1b[K");
        }
    }

    fn status(&mut self) {
        if !self.live || self.writing.is_some() || self.running.is_empty() {
            return;
        }
        self.clear();
        let names: Vec<_> = self.running.iter().map(|(_, name, _)| name.as_str()).collect();
        let _ = write!(self.out, "  {DIM}… {}{DIM:#}", cut(&names.join(", "), 70));
        self.status_shown = true;
    }
}

/// A string unchanged, anything else as JSON; control characters are escaped, and further lines are indented.
fn text(value: &Value) -> String {
    printable::indented(&raw(value), "    ").into_owned()
}

fn raw(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn name(node: &Value) -> String {
    let name = raw(&node["name"]);
    printable::line(&if name.is_empty() { raw(&node["id"]) } else { name }).into_owned()
}

fn short(value: &Value) -> String {
    cut(&printable::line(&raw(value).replace('\n', " ")), 100)
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(max - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_shown_line_by_line_without_control_characters() {
        let mut out = Vec::new();
        let mut progress = Progress::new(anstream::StripStream::new(&mut out), false);
        let node = json!({"id": "n1", "name": "Classify\u{1b}[2J", "type": "x"});
        for (kind, data) in [
            ("run.started", json!({"id": "r"})),
            ("node.started", json!({"node": node})),
            ("llm.delta", json!({"node": node, "delta": "Be"})),
            ("llm.delta", json!({"node": node, "delta": "cause\r\n\u{2713} fake"})),
            ("node.completed", json!({"node": node, "output": {}})),
            ("node.failed", json!({"node": {"id": "n2"}, "error": {"message": "no\r\ncompleted"}})),
            ("run.failed", json!({"error": {"message": "n2 failed"}})),
        ] {
            progress.show(&json!({"type": kind, "data": data}));
        }
        progress.finish();
        drop(progress);
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(
            shown,
            "run r\n  Classify\\u{1b}[2J: Because\n    \u{2713} fake\n  ✓ Classify\\u{1b}[2J\n  ✗ n2: no\n    completed\nfailed: n2 failed\n"
        );
    }
}
