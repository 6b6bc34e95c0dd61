//! What the computation on this thread may still use.

use crate::flow::NodeError;
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What a computation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Steps: each is a few dozen nanoseconds of work.
    pub(crate) steps: u64,
    /// Bytes of text and lists that it makes, whether or not it keeps them.
    pub(crate) bytes: u64,
}

/// What a computation may use on the thread that it is asked for on: less than a millisecond.
pub(crate) const HERE: Budget = Budget { steps: 5_000, bytes: 256 << 10 };

/// What a computation may use in all: a fraction of a second, and a second on a slow machine.
pub(crate) const WHOLE: Budget = Budget { steps: 4_000_000, bytes: 64 << 20 };

/// Bytes that are made in about the time of one step.
const BYTES_A_STEP: u64 = 64;

/// Steps between two looks at whether anybody still waits.
const LOOK_EVERY: u64 = 4_096;

/// What a computation has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Steps,
    Bytes,
    /// Nobody waits for it any longer.
    Stopped,
}

impl Exceeded {
    /// The error of a node; `what` names the computation.
    pub(crate) fn error(self, what: &str) -> NodeError {
        NodeError::limit_exceeded(match self {
            Self::Steps => format!("{what} took more than {} million steps", WHOLE.steps / 1_000_000),
            Self::Bytes => format!("{what} made more than {} MiB of text and lists", WHOLE.bytes >> 20),
            Self::Stopped => format!("{what} was stopped"),
        })
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "it took too many steps",
            Self::Bytes => "it made too much text",
            Self::Stopped => "it was stopped",
        })
    }
}

/// Within what a computation runs.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) budget: Budget,
    /// Set once nobody waits for it.
    pub(super) stop: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy)]
struct Meter {
    steps: u64,
    bytes: u64,
    /// How many steps are left at the next look.
    look_at: u64,
    exceeded: Option<Exceeded>,
    /// Whether there is a computation at all.
    counts: bool,
}

const IDLE: Meter = Meter { steps: 0, bytes: 0, look_at: 0, exceeded: None, counts: false };

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(IDLE) };
    /// Apart from the meter, which is cheaper to reach without anything to drop.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Counts steps. Outside a computation nothing is counted.
pub(crate) fn step(count: u64) -> Result<(), Exceeded> {
    let mut meter = METER.get();
    if !meter.counts {
        return Ok(());
    }
    if let Some(exceeded) = meter.exceeded {
        return Err(exceeded);
    }
    let Some(left) = meter.steps.checked_sub(count) else { return Err(exceed(Exceeded::Steps)) };
    meter.steps = left;
    if left < meter.look_at {
        meter.look_at = left.saturating_sub(LOOK_EVERY);
        let is_stopped =
            STOP.with_borrow(|stop| stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)));
        if is_stopped {
            return Err(exceed(Exceeded::Stopped));
        }
    }
    METER.set(meter);
    Ok(())
}

/// Counts bytes that are about to be made, and the steps that it takes to make them.
pub(crate) fn make(bytes: usize) -> Result<(), Exceeded> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    step(1 + bytes / BYTES_A_STEP)?;
    let mut meter = METER.get();
    if meter.counts {
        let Some(left) = meter.bytes.checked_sub(bytes) else { return Err(exceed(Exceeded::Bytes)) };
        meter.bytes = left;
        METER.set(meter);
    }
    Ok(())
}

/// Counts bytes that are read or copied, where the copy takes the place of what is gone soon: the steps alone.
pub(crate) fn copy(bytes: usize) -> Result<(), Exceeded> {
    step(1 + u64::try_from(bytes).unwrap_or(u64::MAX) / BYTES_A_STEP)
}

/// Counts a value that is copied: a step for each value in it, and its text.
pub(crate) fn walk(value: &Value) -> Result<(), Exceeded> {
    match value {
        Value::String(text) => make(text.len()),
        Value::Array(items) => {
            step(1)?;
            items.iter().try_for_each(walk)
        }
        Value::Object(map) => {
            step(1)?;
            map.iter().try_for_each(|(key, value)| {
                make(key.len())?;
                walk(value)
            })
        }
        _ => step(1),
    }
}

/// Counts a value that is read: the steps alone.
pub(crate) fn visit(value: &Value) -> Result<(), Exceeded> {
    match value {
        Value::String(text) => copy(text.len()),
        Value::Array(items) => {
            step(1)?;
            items.iter().try_for_each(visit)
        }
        Value::Object(map) => {
            step(1)?;
            map.iter().try_for_each(|(key, value)| {
                copy(key.len())?;
                visit(value)
            })
        }
        _ => step(1),
    }
}

/// Ends the computation: something in it that counts for itself has used up what it was given.
pub(crate) fn exceed(exceeded: Exceeded) -> Exceeded {
    let meter = METER.get();
    let first = meter.exceeded.unwrap_or(exceeded);
    METER.set(Meter { exceeded: Some(first), ..meter });
    first
}

/// What the computation on this thread may still use; nothing where there is none.
pub(crate) fn left() -> Option<Budget> {
    let meter = METER.get();
    (meter.counts && meter.exceeded.is_none()).then_some(Budget { steps: meter.steps, bytes: meter.bytes })
}

/// Runs a computation. What it gives does not count if it has exceeded its limits.
pub(super) fn within<T>(
    limits: Limits,
    job: impl FnOnce() -> Result<T, NodeError>,
) -> Result<Result<T, NodeError>, Exceeded> {
    let Limits { budget: Budget { steps, bytes }, stop } = limits;
    let look_at = steps.saturating_sub(LOOK_EVERY);
    // One within another counts for both.
    let outer = METER.get();
    let (steps, bytes) =
        if outer.counts { (steps.min(outer.steps), bytes.min(outer.bytes)) } else { (steps, bytes) };
    METER.set(Meter { steps, bytes, look_at, exceeded: outer.exceeded, counts: true });
    let outer_stop = stop.map(|stop| STOP.replace(Some(stop)));
    // A computation that panics fails its node, and nothing else. What it worked on is dropped with it.
    let result = catch_unwind(AssertUnwindSafe(job));
    if let Some(outer_stop) = outer_stop {
        STOP.set(outer_stop);
    }
    let meter = METER.replace(outer);
    if outer.counts {
        METER.set(Meter {
            steps: outer.steps.saturating_sub(steps - meter.steps),
            bytes: outer.bytes.saturating_sub(bytes - meter.bytes),
            ..outer
        });
    }
    match meter.exceeded {
        Some(exceeded) => Err(exceeded),
        None => Ok(result.unwrap_or_else(|_| Err(panicked()))),
    }
}

/// The error of a computation that panicked.
pub(super) fn panicked() -> NodeError {
    NodeError::new("RuntimeError", "the computation failed inside").lasting()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits(steps: u64, bytes: u64) -> Limits {
        Limits { budget: Budget { steps, bytes }, stop: None }
    }

    #[test]
    fn counts_steps_and_bytes() {
        assert_eq!(within(limits(10, 100), || Ok((1..=10).try_for_each(|_| step(1)))), Ok(Ok(Ok(()))));
        assert_eq!(within(limits(10, 100), || Ok((1..=11).try_for_each(|_| step(1)))), Err(Exceeded::Steps));
        assert_eq!(within(limits(10, 100), || Ok(make(100))), Ok(Ok(Ok(()))));
        assert_eq!(within(limits(10, 100), || Ok(make(101))), Err(Exceeded::Bytes));
        assert_eq!(within(limits(10, 1 << 40), || Ok(make(640))), Err(Exceeded::Steps));
        assert_eq!(within(limits(100, 100), || Ok(make(usize::MAX))), Err(Exceeded::Steps));
    }

    #[test]
    fn walks_all_of_a_value() {
        let value = json!({"a": [1, 2, "four"], "b": null});
        let used = within(limits(1_000, 1_000), || {
            walk(&value).expect("it is small");
            Ok(left().map(|left| (1_000 - left.steps, 1_000 - left.bytes)))
        });
        // Seven values and keys with text, and the four that have none.
        assert_eq!(used, Ok(Ok(Some((8, 6)))));
        assert_eq!(within(limits(5, 1_000), || Ok(walk(&value))), Err(Exceeded::Steps));
    }

    #[test]
    fn what_has_failed_goes_on_failing() {
        let result = within(limits(10, 100), || {
            assert_eq!(step(11), Err(Exceeded::Steps));
            assert_eq!(step(1), Err(Exceeded::Steps));
            assert_eq!(make(1), Err(Exceeded::Steps));
            assert_eq!(left(), None);
            Ok("something")
        });
        assert_eq!(result, Err(Exceeded::Steps));
        // The next one is not touched by it, and outside nothing is counted.
        assert_eq!(within(limits(10, 100), || Ok(step(10))), Ok(Ok(Ok(()))));
        assert_eq!(make(usize::MAX), Ok(()));
    }

    #[test]
    fn one_within_another_counts_for_both() {
        let result = within(limits(10, 100), || {
            assert_eq!(within(limits(100, 10), || Ok(step(6))), Ok(Ok(Ok(()))));
            Ok(step(5))
        });
        assert_eq!(result, Err(Exceeded::Steps));
    }

    #[test]
    fn a_panic_is_an_error() {
        let result = within(limits(10, 100), || -> Result<(), NodeError> { panic!("broken") });
        assert_eq!(result.expect("no limit").expect_err("an error").kind, "RuntimeError");
        assert_eq!(left(), None);
    }

    #[test]
    fn stops_when_nobody_waits() {
        let stop = Arc::new(AtomicBool::new(false));
        let budget = Budget { steps: u64::MAX, bytes: u64::MAX };
        let mut steps = 0;
        let result = within(Limits { budget, stop: Some(Arc::clone(&stop)) }, || {
            while step(1).is_ok() {
                steps += 1;
                stop.store(steps > 100, Ordering::Relaxed);
            }
            Ok(())
        });
        assert_eq!(result, Err(Exceeded::Stopped));
        assert!(steps <= 2 * LOOK_EVERY, "{steps}");
    }
}
