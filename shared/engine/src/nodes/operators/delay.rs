//! Delay: waits, then returns its input.
//!
//! The end of the wait is recorded when it starts, so a run that is taken over waits until the same time, and not at
//! all if it has passed. If no other node of the run is executing, the run rests: no worker waits for it.

use super::Registered;
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    python_text,
};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, civil::DateTime, fmt::temporal::Pieces, tz::Offset};
use runyard_runs::EventBody;
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, sync::Arc};

pub(super) const DELAY: Registered = Registered {
    class: "operators.Delay",
    name: Some("delay"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(Delay::read(fields)?)),
};

#[derive(Debug)]
struct Delay {
    name: String,
    /// Seconds to wait, unless the input sets them.
    seconds: Option<f64>,
}

/// A wait, as it was set when it started.
struct Wait {
    started: Timestamp,
    until: OffsetTime,
    /// Whether an earlier execution recorded it.
    recorded: bool,
}

/// A timestamp, and the UTC offset that it was written with, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OffsetTime {
    at: Timestamp,
    offset: Option<Offset>,
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

    /// The wait that an earlier execution started, or one that starts now.
    fn wait(&self, call: Call<'_>, input: &Map<String, Value>) -> Result<Wait, NodeError> {
        let key = format!("node:{}:wait", call.key);
        if let Some(recorded) = call.run.recorded(&key) {
            let recorded = |key: &str| parse_time(&recorded.journal[key]);
            if let (Some(started), Some(until)) = (recorded("started"), recorded("until")) {
                return Ok(Wait { started: started.at, until, recorded: true });
            }
        }
        let started = now(call);
        let wait = Wait { started, until: self.until(input, started)?, recorded: false };
        let journal = json!({"started": wait.started.to_string(), "until": wait.until.text()});
        call.run.record(&key, EventBody::RunCheckpoint, Some(journal));
        Ok(wait)
    }

    fn until(&self, input: &Map<String, Value>, now: Timestamp) -> Result<OffsetTime, NodeError> {
        if let Some(until) = input.get("until").filter(|until| !until.is_null()) {
            let OffsetTime { at, offset } = parse_time(until).ok_or_else(|| invalid_until(until))?;
            return Ok(OffsetTime { at, offset: offset.or(Some(Offset::UTC)) });
        }
        let given = input.get("duration_seconds").filter(|seconds| !seconds.is_null()).and_then(seconds);
        let Some(seconds) = given.or(self.seconds) else {
            let message = format!(
                "the Delay `{}` has no duration: set `duration_seconds`, or pass `until` or `duration_seconds` as \
                 input",
                self.name
            );
            return Err(NodeError::new("ValueError", message));
        };
        SignedDuration::try_from_secs_f64(seconds)
            .and_then(|wait| now.checked_add(wait))
            .map(|at| OffsetTime { at, offset: Some(Offset::UTC) })
            .map_err(|_| NodeError::new("ValueError", format!("`duration_seconds` is too large: {seconds}")))
    }
}

/// The current time by the run's clock.
fn now(call: Call<'_>) -> Timestamp {
    Timestamp::from_millisecond(call.run.now().0).unwrap_or_default()
}

fn invalid_until(value: &Value) -> NodeError {
    let message = format!("`until` must be a timestamp in ISO 8601, not {}", python_text::repr(value));
    NodeError::new("ValidationError", message)
}

/// Parses a timestamp: ISO 8601, in UTC if it has no offset, or seconds since 1970.
fn parse_time(value: &Value) -> Option<OffsetTime> {
    match value {
        Value::String(text) => {
            let pieces = Pieces::parse(text).ok()?;
            let civil = DateTime::from_parts(pieces.date(), pieces.time().unwrap_or_default());
            let offset = pieces.to_numeric_offset();
            Some(OffsetTime { at: offset.unwrap_or(Offset::UTC).to_timestamp(civil).ok()?, offset })
        }
        Value::Number(number) => {
            let since = SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?;
            Some(OffsetTime { at: Timestamp::UNIX_EPOCH.checked_add(since).ok()?, offset: Some(Offset::UTC) })
        }
        _ => None,
    }
}

impl OffsetTime {
    /// The timestamp, rounded up to milliseconds.
    fn millis(self) -> runyard_runs::Timestamp {
        let millis = (self.at.as_nanosecond() + 999_999).div_euclid(1_000_000);
        runyard_runs::Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// Formats it like Python's `isoformat()`.
    fn text(self) -> String {
        let civil = self.offset.unwrap_or(Offset::UTC).to_datetime(self.at);
        let mut text = civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let micros = civil.subsec_nanosecond() / 1_000;
        if micros > 0 {
            let _ = write!(text, ".{micros:06}");
        }
        if let Some(offset) = self.offset {
            let minutes = offset.seconds() / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            let _ = write!(text, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
        }
        text
    }
}

/// Seconds from a number, a text with a number, or a boolean.
fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    }
}

/// Seconds, rounded to milliseconds.
fn rounded(duration: SignedDuration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

#[async_trait]
impl Kind for Delay {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        let wait = self.wait(call, input)?;
        if !wait.recorded && wait.until.at > now(call) {
            // The record of the wait is committed before the wait.
            call.run.outside().await?;
        }
        if let Ok(left) = wait.until.at.duration_since(now(call)).try_into() {
            let _stay = call.rests.until(wait.until.millis());
            tokio::time::sleep(left).await;
        }
        // If the end had passed when the delay started, it did not wait.
        let waited = if wait.until.at > wait.started {
            now(call).duration_since(wait.started)
        } else {
            SignedDuration::ZERO
        };
        let mut output: Map<String, Value> = input
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "until" | "duration_seconds"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        output.insert("waited_until".into(), wait.until.text().into());
        output.insert("waited_seconds".into(), rounded(waited).into());
        Ok(Arc::new(Value::Object(output)))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = Arc::unwrap_or_clone(super::mapping(input, "a Delay")?);
        let until = match &input["until"] {
            Value::Null => Value::Null,
            until => parse_time(until).ok_or_else(|| invalid_until(until))?.text().into(),
        };
        let duration = match &input["duration_seconds"] {
            Value::Null => Value::Null,
            given => {
                let Some(seconds) = seconds(given).filter(|seconds| *seconds >= 0.0) else {
                    let given = python_text::repr(given);
                    let message =
                        format!("`duration_seconds` must be a number that is not negative, not {given}");
                    return Err(NodeError::new("ValidationError", message));
                };
                seconds.into()
            }
        };
        input["until"] = until;
        input["duration_seconds"] = duration;
        Ok(Arc::new(input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_timestamps() {
        for (text, expected, at) in [
            ("2026-06-10T09:15:21Z", "2026-06-10T09:15:21+00:00", "2026-06-10T09:15:21Z"),
            ("2026-06-10T09:15:21+02:00", "2026-06-10T09:15:21+02:00", "2026-06-10T07:15:21Z"),
            ("2026-06-10T09:15:21.5", "2026-06-10T09:15:21.500000", "2026-06-10T09:15:21.5Z"),
            ("2026-06-10 09:15", "2026-06-10T09:15:00", "2026-06-10T09:15:00Z"),
            ("2026-06-10", "2026-06-10T00:00:00", "2026-06-10T00:00:00Z"),
        ] {
            let found = parse_time(&json!(text)).expect(text);
            assert_eq!((found.text().as_str(), found.at.to_string().as_str()), (expected, at));
        }
        assert_eq!(parse_time(&json!(0)).map(|time| time.at), Some(Timestamp::UNIX_EPOCH));
        for wrong in [json!("tomorrow"), json!([]), json!("25:00")] {
            assert_eq!(parse_time(&wrong), None, "{wrong}");
        }
    }
}
