//! Guards of an agent: they check, mask or refuse its input, the results of its tools and its output, and limit calls.

use crate::{
    compute,
    flow::NodeError,
    load::{Fields, meant},
    pattern::Pattern,
};
use runyard_runs::RunContext;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The guards of an agent, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Hooks(Vec<Arc<Hook>>);

#[derive(Debug)]
struct Hook {
    name: String,
    /// Names of the tools it applies to, with `*` for any text; all tools if empty.
    tools: Vec<String>,
    message: String,
    violation: Violation,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    /// Patterns of forbidden texts.
    Text { on: Vec<Point>, patterns: Vec<Pattern>, mask: Option<String> },
    /// Hides the tools from the model.
    Deny,
    /// Number of calls of these tools in one execution of the agent.
    Limit(u32),
}

/// Where a text is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Input,
    ToolResult,
    Output,
}

/// The effect of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Violation {
    /// At a tool, the model gets the message as the result; elsewhere the agent ends with the message as its answer.
    Observation,
    /// The agent ends with the message as its answer.
    Answer,
    /// The agent fails.
    Fail,
}

/// How a guard refused.
#[derive(Debug)]
pub(super) enum GuardRefusal {
    /// The model gets this text as the result of its call.
    Observation(String),
    /// The agent ends with this answer.
    Answer { message: String, hook: String },
    /// The agent fails.
    Failed(NodeError),
}

/// What a guard puts in the place of a match, unless the file has a `replacement`.
const MASK: &str = "[REDACTED]";

const SECRETS: &[&str] = &[
    r"\bsk-[A-Za-z0-9_-]{20,}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
];
const INJECTION: &[&str] = &[
    r"(?i)\b(ignore|disregard|forget)\b.{0,40}\b(previous|prior|above|earlier|all)\b.{0,40}\b(instruction|prompt|rule)s?\b",
    r"(?i)\b(reveal|print|show|repeat)\b.{0,40}\b(system|hidden|initial)\b.{0,20}\bprompt\b",
    r"(?i)\byou are now\b.{0,40}\b(unrestricted|jailbroken|developer mode|DAN)\b",
];

/// The supported types, by short name and class.
const KINDS: &[(&str, &str)] =
    &[("regex", "RegexHook"), ("tool_policy", "ToolPolicyHook"), ("call_limit", "CallLimitHook")];

impl Hooks {
    /// Reads the list `hooks`; reports items that cannot be read.
    pub(super) fn read(fields: Fields<'_>) -> Self {
        Self(fields.items("hooks", "a hook").into_iter().filter_map(Hook::read).map(Arc::new).collect())
    }

    /// Whether a guard checks the answer, which cannot be shown before.
    pub(super) fn guard_output(&self) -> bool {
        self.0.iter().any(|hook| hook.checks(Point::Output))
    }

    /// Whether the tool is offered to the model.
    pub(super) fn offer(&self, tool: &str) -> bool {
        !self.0.iter().any(|hook| matches!(hook.guard, Guard::Deny) && hook.applies_to(tool))
    }

    /// Checks a tool's calls against its call limits; `calls` returns the number of calls of all tools that a predicate
    /// accepts.
    pub(super) fn allow_call(
        &self,
        tool: &str,
        calls: impl Fn(&dyn Fn(&str) -> bool) -> u32,
    ) -> Result<(), GuardRefusal> {
        for hook in &self.0 {
            if let Guard::Limit(limit) = hook.guard
                && hook.applies_to(tool)
                && calls(&|name| hook.applies_to(name)) >= limit
            {
                return Err(hook.refusal(true));
            }
        }
        Ok(())
    }

    /// Returns the value with its texts masked, or the refusal if a guard refuses one of them. A text is also refused
    /// if a guard's pattern exceeds its limits on it. Guards of results and of the output are applied in reverse order.
    ///
    /// `tool` is the tool that returned the value, for [`Point::ToolResult`].
    pub(super) async fn guard(
        &self,
        run: &RunContext,
        point: Point,
        tool: &str,
        value: Value,
    ) -> Result<Value, GuardRefusal> {
        let applies =
            |hook: &&Arc<Hook>| hook.checks(point) && (point != Point::ToolResult || hook.applies_to(tool));
        let mut hooks: Vec<&Arc<Hook>> = self.0.iter().filter(applies).collect();
        if point != Point::Input {
            hooks.reverse();
        }
        let mut value = value;
        for hook in hooks {
            let detached = || {
                let (hook, value) = (Arc::clone(hook), value.clone());
                move || hook.masked(&value)
            };
            let masked = compute::run(run, "a guard", || hook.masked(&value), detached).await;
            let Ok(Some(masked)) = masked else { return Err(hook.refusal(point == Point::ToolResult)) };
            value = masked;
        }
        Ok(value)
    }

    /// [`Hooks::guard`] for a text.
    pub(super) async fn guard_text(
        &self,
        run: &RunContext,
        point: Point,
        tool: &str,
        text: String,
    ) -> Result<String, GuardRefusal> {
        match self.guard(run, point, tool, Value::String(text)).await? {
            Value::String(text) => Ok(text),
            other => Ok(other.to_string()),
        }
    }
}

impl Hook {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let kind = fields.text("type")?;
        let class = kind.rsplit('.').next().unwrap_or(kind);
        let Some((_, class)) = KINDS.iter().find(|(short, long)| *short == kind || *long == class) else {
            let known: Vec<&str> = KINDS.iter().map(|(short, _)| *short).collect();
            let message = format!("hooks of type `{kind}` are not supported{}", meant(kind, &known));
            fields.mistake(fields.spot("type"), message);
            return None;
        };
        let guard = match *class {
            "RegexHook" => text(fields),
            "ToolPolicyHook" => {
                for key in ["allow_if", "approval", "approval_unless"] {
                    if fields.get(key).is_some_and(|value| value.to_json() != Value::Bool(false)) {
                        let message = format!("`{key}` is not supported: set `approval` on the tool itself");
                        fields.mistake(fields.spot(key), message);
                    }
                }
                if fields.bool("deny") != Some(true) {
                    return None;
                }
                Guard::Deny
            }
            _ => {
                if fields.get("max_per_run").is_none() {
                    fields.mistake(fields.yaml.spot, "`max_per_run` of a call limit cannot be blank".into());
                }
                Guard::Limit(fields.count("max_per_run")?)
            }
        };
        let violations = [
            ("observation", Violation::Observation),
            ("answer", Violation::Answer),
            ("fail", Violation::Fail),
        ];
        let default = match guard {
            Guard::Text { .. } => "This was refused: it has content that is not allowed.",
            Guard::Deny => "This tool is not allowed.",
            Guard::Limit(_) => "The limit of calls of this tool is reached; do not call it again.",
        };
        Some(Self {
            name: fields.text("name").unwrap_or(class).to_owned(),
            tools: fields
                .list("tools")
                .unwrap_or_default()
                .iter()
                .filter_map(|tool| tool.text().map(str::to_owned))
                .collect(),
            message: fields.text("message").unwrap_or(default).to_owned(),
            violation: fields.choice("on_violation", &violations).unwrap_or(Violation::Observation),
            guard,
        })
    }

    fn checks(&self, point: Point) -> bool {
        matches!(&self.guard, Guard::Text { on, .. } if on.contains(&point))
    }

    /// The value with each match in its texts masked; `None` if a match is refused instead.
    fn masked(&self, value: &Value) -> Result<Option<Value>, NodeError> {
        Ok(Some(match value {
            Value::String(text) => match self.masked_text(text)? {
                Some(text) => Value::String(text),
                None => return Ok(None),
            },
            Value::Array(items) => {
                let mut masked = Vec::with_capacity(items.len());
                for item in items {
                    let Some(item) = self.masked(item)? else { return Ok(None) };
                    masked.push(item);
                }
                Value::Array(masked)
            }
            Value::Object(map) => {
                let mut masked = Map::with_capacity(map.len());
                for (key, value) in map {
                    let Some(value) = self.masked(value)? else { return Ok(None) };
                    masked.insert(key.clone(), value);
                }
                Value::Object(masked)
            }
            other => other.clone(),
        }))
    }

    fn masked_text(&self, text: &str) -> Result<Option<String>, NodeError> {
        let mut text = text.to_owned();
        if let Guard::Text { patterns, mask, .. } = &self.guard {
            for pattern in patterns {
                if pattern.is_match(&text)? {
                    let Some(mask) = mask else { return Ok(None) };
                    text = pattern.replace(&text, mask)?;
                }
            }
        }
        Ok(Some(text))
    }

    fn applies_to(&self, tool: &str) -> bool {
        self.tools.is_empty() || self.tools.iter().any(|pattern| matches(pattern, tool))
    }

    fn refusal(&self, at_tool: bool) -> GuardRefusal {
        let message = self.message.clone();
        match self.violation {
            Violation::Fail => GuardRefusal::Failed(NodeError::new("HookStopException", message).lasting()),
            Violation::Observation if at_tool => GuardRefusal::Observation(message),
            Violation::Observation | Violation::Answer => {
                GuardRefusal::Answer { message, hook: self.name.clone() }
            }
        }
    }
}

fn text(fields: Fields<'_>) -> Guard {
    let points = [("input", Point::Input), ("tool_result", Point::ToolResult), ("output", Point::Output)];
    let on = match fields.list("on") {
        Some(items) => items
            .iter()
            .filter_map(|item| {
                let found = points.iter().find(|(word, _)| item.text() == Some(*word));
                if found.is_none() {
                    fields.mistake(
                        item.spot,
                        "`on` must be a list of `input`, `tool_result` and `output`".into(),
                    );
                }
                found.map(|(_, point)| *point)
            })
            .collect(),
        None => points.iter().map(|(_, point)| *point).collect(),
    };
    let own =
        fields.list("patterns").unwrap_or_default().iter().filter_map(|item| Some((item.text()?, item.spot)));
    let presets = fields.list("presets").unwrap_or_default().iter().flat_map(|item| {
        let patterns: &[&str] = match item.text() {
            Some("secrets") => SECRETS,
            Some("injection_basic") => INJECTION,
            _ => {
                fields
                    .mistake(item.spot, "`presets` must be a list of `secrets` and `injection_basic`".into());
                &[]
            }
        };
        patterns.iter().map(|pattern| (*pattern, item.spot))
    });
    let patterns: Vec<Pattern> = own
        .chain(presets)
        .filter_map(|(pattern, spot)| match fields.pattern_at(spot, || Pattern::new(pattern, false))? {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                fields.mistake(spot, format!("`patterns` has an invalid regular expression: {error}"));
                None
            }
        })
        .collect();
    let mask = fields.choice("action", &[("block", false), ("mask", true)]).unwrap_or(false);
    let mask = mask.then(|| fields.text("replacement").unwrap_or(MASK).to_owned());
    Guard::Text { on, patterns, mask }
}

/// Whether a name matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    name.char_indices().map(|(index, _)| index).chain([name.len()]).any(|index| matches(rest, &name[index..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_patterns() {
        for (pattern, name, fits) in
            [("a*c", "abbc", true), ("*", "", true), ("a", "ab", false), ("a*b*", "axbx", true)]
        {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
