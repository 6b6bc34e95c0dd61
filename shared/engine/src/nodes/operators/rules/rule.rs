//! One rule and its finding.

use super::{
    Record,
    derived::{compile, unread, why_held},
};
use crate::{
    compute,
    expression::{Expression, Fault, Message, Mode, Reads, Scope, Unreadable, Val, date},
    load::{Fields, meant},
};
use jiff::civil::Date;
use serde_json::{Map, Value, json};

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) is_on: bool,
    pub(super) policy: Option<Policy>,
    name: String,
    category: String,
    severity: Status,
    /// The condition `applies_when`, and its source.
    applies: Option<(Expression, String)>,
    check: Expression,
    /// The message template, and its source.
    message: Option<(Message, String)>,
    reason_code: Option<String>,
    references: Value,
    tags: Value,
    from: Option<(Date, String)>,
    until: Option<(Date, String)>,
}

/// How a rule treats a missing value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// The rule is not evaluated, and a person must check it.
    Hold,
    /// The rule has failed.
    Fail,
    /// The rule does not apply.
    Skip,
}

impl Policy {
    pub(super) const WORDS: &[(&str, Self)] =
        &[("not_evaluated", Self::Hold), ("fail", Self::Fail), ("not_applicable", Self::Skip)];
}

/// The result of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pass,
    Fail,
    Warn,
    Info,
    NotApplicable,
    NotEvaluated,
}

impl Status {
    pub(super) const ALL: [Self; 6] =
        [Self::Pass, Self::Fail, Self::Warn, Self::Info, Self::NotApplicable, Self::NotEvaluated];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::NotApplicable => "not_applicable",
            Self::NotEvaluated => "not_evaluated",
        }
    }
}

/// The result of a rule, its reason, and whether its check ran.
type Verdict = (Status, Option<String>, bool);

impl Rule {
    pub(super) fn read(id: String, fields: Fields<'_>) -> Option<Self> {
        let severities = [("fail", Status::Fail), ("warn", Status::Warn), ("info", Status::Info)];
        let text = |key: &str| fields.text(key).unwrap_or_default().to_owned();
        let check = text("check");
        if check.trim().is_empty() {
            fields.mistake(fields.spot("check"), format!("the rule `{id}` lacks its `check`"));
            return None;
        }
        let applies = text("applies_when").trim().to_owned();
        let message = text("message").trim().to_owned();
        let message = match (message.is_empty(), Message::new(&message)) {
            (true, _) => None,
            (false, Ok(compiled)) => Some((compiled, message)),
            (false, Err(problem)) => {
                fields.mistake(fields.spot("message"), format!("`message` is no template: {problem}"));
                None
            }
        };
        let (from, until) = (day(fields, "effective_from"), day(fields, "effective_until"));
        if let (Some((from, _)), Some((until, _))) = (&from, &until)
            && until < from
        {
            fields.mistake(
                fields.spot("effective_until"),
                "`effective_until` must not be before `effective_from`".into(),
            );
        }
        let policy = fields.text("on_missing").unwrap_or_default();
        let known = Policy::WORDS.iter().find(|(word, _)| *word == policy).map(|(_, policy)| *policy);
        // The reference accepts an unknown word and uses the node's policy.
        if known.is_none() && !policy.is_empty() {
            let words: Vec<&str> = Policy::WORDS.iter().map(|(word, _)| *word).collect();
            let near = meant(policy, &words);
            let words = words.join("`, `");
            let message = format!("`on_missing` is none of `{words}`, so it has no effect{near}");
            fields.warn(fields.spot("on_missing"), message);
        }
        let list = |key: &str| fields.json(key).filter(Value::is_array).unwrap_or_else(|| json!([]));
        let applies = if applies.is_empty() {
            None
        } else {
            compile(fields, "applies_when", &applies, Mode::Check).map(|compiled| (compiled, applies))
        };
        Some(Self {
            is_on: fields.bool("enabled") != Some(false),
            policy: known,
            name: text("name"),
            category: text("category"),
            severity: fields.choice("severity", &severities).unwrap_or(Status::Fail),
            applies,
            check: compile(fields, "check", &check, Mode::Check)?,
            message,
            reason_code: fields.text("reason_code").map(str::to_owned),
            references: list("references"),
            tags: list("tags"),
            from,
            until,
            id,
        })
    }

    /// Returns the finding, the result, and whether the check ran.
    pub(super) fn finding(&self, record: &Record<'_, '_>, policy: Policy) -> (Value, Status, bool) {
        let mut finding = json!({
            "rule_id": self.id, "name": self.name, "category": self.category,
            "severity": self.severity.name(), "status": "pass", "message": null,
            "reason_code": self.reason_code, "references": self.references, "tags": self.tags, "evaluated": {},
        });
        let is_early = self.from.as_ref().is_some_and(|(from, _)| record.as_of < *from);
        let is_late = self.until.as_ref().is_some_and(|(until, _)| record.as_of > *until);
        if is_early || is_late {
            finding["status"] = Status::NotApplicable.name().into();
            finding["message"] =
                format!("not in force on {}: effective {}", record.as_of, self.window()).into();
            return (finding, Status::NotApplicable, true);
        }
        let (status, reason, ran) = self.evaluate(record, self.policy.unwrap_or(policy));
        finding["status"] = status.name().into();
        if status != Status::NotApplicable {
            let evaluated: Map<String, Value> = self
                .check
                .reads
                .all()
                .map(|path| (path.text.clone(), shown(record.scope.resolve(path))))
                .collect();
            finding["evaluated"] = evaluated.into();
        }
        let message = match status {
            Status::Pass => None,
            Status::NotApplicable | Status::NotEvaluated => reason,
            _ => self.message(record, reason),
        };
        finding["message"] = message.into();
        (finding, status, ran)
    }

    fn window(&self) -> String {
        match (&self.from, &self.until) {
            (Some((_, from)), Some((_, until))) => format!("from {from} to {until}"),
            (Some((_, from)), None) => format!("from {from}"),
            (None, Some((_, until))) => format!("until {until}"),
            (None, None) => String::new(),
        }
    }

    fn evaluate(&self, record: &Record<'_, '_>, policy: Policy) -> Verdict {
        if let Some((applies, text)) = &self.applies {
            match applies.holds(&record.scope, record.today) {
                (Ok(true), _) => {}
                (Ok(false), _) => {
                    return (Status::NotApplicable, Some(format!("does not apply: {text}")), true);
                }
                (Err(fault), misread) => {
                    return self.stopped(&applies.reads, "applies_when", &fault, &misread, record, policy);
                }
            }
        }
        match self.check.holds(&record.scope, record.today) {
            (Ok(true), _) => (Status::Pass, None, true),
            (Ok(false), _) => (self.severity, None, true),
            (Err(fault), misread) => {
                self.stopped(&self.check.reads, "check", &fault, &misread, record, policy)
            }
        }
    }

    /// The result after an expression has failed.
    fn stopped(
        &self,
        reads: &Reads,
        what: &str,
        fault: &Fault,
        misread: &[Unreadable],
        record: &Record<'_, '_>,
        policy: Policy,
    ) -> Verdict {
        let failed = |reason: &str| {
            let status = if policy == Policy::Fail { self.severity } else { Status::NotEvaluated };
            (status, Some(format!("{what} could not be evaluated: {reason}")), false)
        };
        let Fault::Missing { message, path } = fault else { return failed(fault.message()) };
        if let Some(unreadable) = unread(reads.all(), misread, &record.scope) {
            return failed(&unreadable.reason);
        }
        let held = |reason: String| (Status::NotEvaluated, Some(reason), false);
        match policy {
            Policy::Fail => (self.severity, Some(message.clone()), false),
            Policy::Hold => held(message.clone()),
            Policy::Skip => match (why_held(reads, record, &[], ""), path) {
                (Some(hold), _) => held(format!("{message} (not skipped: {})", hold.reason)),
                (None, None) => {
                    held(format!("{message} (not skipped: no field of the record accounts for it)"))
                }
                (None, Some(_)) => (Status::NotApplicable, Some(format!("does not apply: {message}")), true),
            },
        }
    }

    /// The message of a rule that has failed.
    fn message(&self, record: &Record<'_, '_>, reason: Option<String>) -> Option<String> {
        let Some((message, text)) = &self.message else { return reason };
        // A message sees an unreadable value as null, as in the output.
        if record.scope.values.iter().any(|(_, value)| value.weigh(compute::make).is_err()) {
            return reason;
        }
        let mut values = record.scope.values.clone();
        for (_, value) in values.iter_mut().filter(|(_, value)| matches!(value, Val::Unreadable(_))) {
            *value = Val::None;
        }
        let scope = Scope { input: record.scope.input, values };
        let rendered = message.render(&scope, record.today).unwrap_or_else(|_| text.clone());
        let rendered = rendered.trim();
        match reason {
            Some(reason) if rendered.is_empty() => Some(reason),
            Some(reason) => Some(format!("{rendered} ({reason})")),
            None => (!rendered.is_empty()).then(|| rendered.to_owned()),
        }
    }
}

fn day(fields: Fields<'_>, key: &str) -> Option<(Date, String)> {
    let text = fields.text(key).filter(|text| !text.trim().is_empty())?;
    if let Ok(day) = date(&Val::Text(text.to_owned()), None) {
        return Some((day, text.to_owned()));
    }
    fields.mistake(fields.spot(key), format!("`{key}` must be a date, not `{text}`"));
    None
}

/// A value as a finding shows it: for a list or a mapping, only its size.
fn shown(value: Option<Val<'_>>) -> Value {
    let Some(value) = value else { return Value::Null };
    match &value {
        Val::Unreadable(unreadable) => format!("unreadable: {}", unreadable.reason).into(),
        Val::Method(_, name) => format!("{name}(…)").into(),
        _ if value.is_mapping() => {
            format!("{{…{} keys}}", value.entries().map_or(0, |entries| entries.len())).into()
        }
        Val::List(items) | Val::Tuple(items) => format!("[…{} items]", items.len()).into(),
        Val::Json(Value::Array(items)) => format!("[…{} items]", items.len()).into(),
        _ => value.json().unwrap_or_default(),
    }
}
