//! Delay: waits, then gives what it was given.
//!
//! The moment to go on at is recorded when the wait begins, so a run that is taken over meanwhile waits for the same one,
//! and not at all if it has passed.

use super::Registered;
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    python_text,
};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, civil::DateTime, fmt::temporal::Pieces};
use runyard_runs::EventBody;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const DELAY: Registered = Registered {
    class: "operators.Delay",
    name: Some("delay"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(Delay::read(fields)?)),
};

#[derive(Debug)]
struct Delay {
    name: String,
    /// How many seconds, unless the input says.
    seconds: Option<f64>,
}

/// A wait as it was fixed when it began.
struct Wait {
    started: Timestamp,
    until: Timestamp,
}

impl Delay {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let seconds = fields.float("duration_seconds");
        if seconds.is_some_and(|seconds| seconds < 0.0) {
            let message = "`duration_seconds` must not be negative";
            fields.mistake(fields.spot("duration_seconds"), message.into());
            return None;
        }
        Some(Self { name: fields.text("name").unwrap_or("delay").to_owned(), seconds })
    }

    /// The wait that an earlier execution began, or one that begins now.
    fn wait(&self, call: Call<'_>, input: &Map<String, Value>) -> Result<Wait, NodeError> {
        let key = format!("node:{}:wait", call.key);
        if let Some(recorded) = call.run.recorded(&key) {
            let moment = |key: &str| recorded.journal[key].as_str()?.parse().ok();
            if let (Some(started), Some(until)) = (moment("started"), moment("until")) {
                return Ok(Wait { started, until });
            }
        }
        let started = Timestamp::from_millisecond(call.services.clock.now().0).unwrap_or_default();
        let wait = Wait { started, until: self.until(input, started)? };
        let journal = json!({"started": wait.started.to_string(), "until": wait.until.to_string()});
        call.run.record(&key, EventBody::RunCheckpoint, Some(journal));
        Ok(wait)
    }

    fn until(&self, input: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, NodeError> {
        if let Some(until) = input.get("until").filter(|until| !until.is_null()) {
            return moment(until).ok_or_else(|| no_moment(until));
        }
        let given = input.get("duration_seconds").filter(|seconds| !seconds.is_null()).and_then(seconds);
        let Some(seconds) = given.or(self.seconds) else {
            let message = format!(
                "the Delay `{}` has nothing to wait for: set its `duration_seconds`, or give `until` or \
                 `duration_seconds` as input",
                self.name
            );
            return Err(NodeError::new("ValueError", message));
        };
        SignedDuration::try_from_secs_f64(seconds)
            .and_then(|wait| now.checked_add(wait))
            .map_err(|_| NodeError::new("ValueError", format!("{seconds} seconds are too far in the future")))
    }
}

fn no_moment(value: &Value) -> NodeError {
    let message = format!("`until` must be a moment as ISO 8601 has it, not {}", python_text::repr(value));
    NodeError::new("ValidationError", message)
}

/// A moment: ISO 8601, in UTC where it names no zone, or seconds since 1970.
fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => {
            if let Ok(moment) = text.parse::<Timestamp>() {
                return Some(moment);
            }
            let pieces = Pieces::parse(text).ok()?;
            let time = pieces.time().unwrap_or_default();
            let civil = DateTime::from_parts(pieces.date(), time);
            match pieces.to_numeric_offset() {
                Some(offset) => offset.to_timestamp(civil).ok(),
                None => civil.in_tz("UTC").ok().map(|zoned| zoned.timestamp()),
            }
        }
        Value::Number(number) => {
            let since = SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?;
            Timestamp::UNIX_EPOCH.checked_add(since).ok()
        }
        _ => None,
    }
}

/// As many seconds as a number, or text that is one, says.
fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    }
}

/// Seconds with three decimals.
fn rounded(duration: SignedDuration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

#[async_trait]
impl Kind for Delay {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        let wait = self.wait(call, input)?;
        let now = || Timestamp::from_millisecond(call.services.clock.now().0).unwrap_or_default();
        if let Ok(left) = wait.until.duration_since(now()).try_into() {
            // The wait is on record before it is waited for.
            call.run.outside().await?;
            tokio::time::sleep(left).await;
        }
        let mut output: Map<String, Value> = input
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "until" | "duration_seconds"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let until = wait.until.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string();
        output.insert("waited_until".into(), until.replace(".000000", "").into());
        output.insert("waited_seconds".into(), rounded(now().duration_since(wait.started)).into());
        Ok(Arc::new(Value::Object(output)))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let input = super::mapping(input, "a Delay")?;
        if let Some(until) = input.get("until").filter(|until| !until.is_null())
            && moment(until).is_none()
        {
            return Err(no_moment(until));
        }
        if let Some(given) = input.get("duration_seconds").filter(|given| !given.is_null())
            && seconds(given).is_none_or(|seconds| seconds < 0.0)
        {
            let given = python_text::repr(given);
            let message = format!("`duration_seconds` must be a number that is not negative, not {given}");
            return Err(NodeError::new("ValidationError", message));
        }
        Ok(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, expected) in [
            ("2026-06-10T09:15:21Z", "2026-06-10T09:15:21Z"),
            ("2026-06-10T09:15:21+02:00", "2026-06-10T07:15:21Z"),
            ("2026-06-10T09:15:21.5", "2026-06-10T09:15:21.5Z"),
            ("2026-06-10 09:15", "2026-06-10T09:15:00Z"),
            ("2026-06-10", "2026-06-10T00:00:00Z"),
        ] {
            let found = moment(&json!(text)).map(|moment| moment.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            moment(&json!(0)).map(|moment| moment.to_string()).as_deref(),
            Some("1970-01-01T00:00:00Z")
        );
        for wrong in [json!("tomorrow"), json!([]), json!("25:00")] {
            assert_eq!(moment(&wrong), None, "{wrong}");
        }
    }
}
