//! The remaining budget of the computation on this thread.

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

/// The budget of a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Steps of a few dozen nanoseconds of work each.
    pub(crate) steps: u64,
    /// Bytes of text and lists that it creates, whether or not it keeps them.
    pub(crate) bytes: u64,
}

/// The budget of a computation on the calling thread: less than a millisecond.
pub(crate) const INLINE_BUDGET: Budget = Budget { steps: 5_000, bytes: 256 << 10 };

/// The whole budget of a computation: a fraction of a second, or a second on a slow machine.
pub(crate) const FULL_BUDGET: Budget = Budget { steps: 4_000_000, bytes: 64 << 20 };

/// Bytes that are created in about the time of one step.
const BYTES_PER_STEP: u64 = 64;

/// Steps between two checks for cancellation.
const STOP_CHECK_STEPS: u64 = 4_096;

/// Why a computation ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Steps,
    Bytes,
    /// It was canceled.
    Stopped,
}

impl Exceeded {
    /// The node's error; `what` names the computation.
    pub(crate) fn error(self, what: &str) -> NodeError {
        NodeError::limit_exceeded(match self {
            Self::Steps => format!("{what} took more than {} million steps", FULL_BUDGET.steps / 1_000_000),
            Self::Bytes => {
                format!("{what} created more than {} MiB of text and lists", FULL_BUDGET.bytes >> 20)
            }
            Self::Stopped => format!("{what} was stopped"),
        })
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "it took too many steps",
            Self::Bytes => "it created too much text",
            Self::Stopped => "it was stopped",
        })
    }
}

/// The limits within which a computation runs.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) budget: Budget,
    /// Set when the computation is canceled.
    pub(super) stop: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy)]
struct Meter {
    steps: u64,
    bytes: u64,
    /// The number of remaining steps below which cancellation is checked next.
    check_below: u64,
    exceeded: Option<Exceeded>,
    /// Whether a computation is running.
    counts: bool,
}

const IDLE: Meter = Meter { steps: 0, bytes: 0, check_below: 0, exceeded: None, counts: false };

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(IDLE) };
    /// Separate from the meter, because a thread local without a destructor is cheaper to access.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Charges for steps. Has no effect outside a computation.
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
    if left < meter.check_below {
        meter.check_below = left.saturating_sub(STOP_CHECK_STEPS);
        let is_stopped =
            STOP.with_borrow(|stop| stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)));
        if is_stopped {
            return Err(exceed(Exceeded::Stopped));
        }
    }
    METER.set(meter);
    Ok(())
}

/// Charges for bytes before they are created, and for the steps that creating them takes.
pub(crate) fn make(bytes: usize) -> Result<(), Exceeded> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    step(1 + bytes / BYTES_PER_STEP)?;
    let mut meter = METER.get();
    if meter.counts {
        let Some(left) = meter.bytes.checked_sub(bytes) else { return Err(exceed(Exceeded::Bytes)) };
        meter.bytes = left;
        METER.set(meter);
    }
    Ok(())
}

/// Charges for reading bytes, or for copying them if the original is dropped soon: for the steps only.
pub(crate) fn copy(bytes: usize) -> Result<(), Exceeded> {
    step(1 + u64::try_from(bytes).unwrap_or(u64::MAX) / BYTES_PER_STEP)
}

/// Charges for copying a value: a step for each value in it, and its text.
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

/// Charges for reading a value: for the steps only.
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

/// Ends the computation, because a part with its own counter has used up its budget.
pub(crate) fn exceed(exceeded: Exceeded) -> Exceeded {
    let meter = METER.get();
    let first = meter.exceeded.unwrap_or(exceeded);
    METER.set(Meter { exceeded: Some(first), ..meter });
    first
}

/// The remaining budget of the computation on this thread; `None` outside a computation.
pub(crate) fn left() -> Option<Budget> {
    let meter = METER.get();
    (meter.counts && meter.exceeded.is_none()).then_some(Budget { steps: meter.steps, bytes: meter.bytes })
}

/// Runs a computation. Its result is discarded if it has exceeded its limits.
pub(super) fn within<T>(
    limits: Limits,
    job: impl FnOnce() -> Result<T, NodeError>,
) -> Result<Result<T, NodeError>, Exceeded> {
    let Limits { budget: Budget { steps, bytes }, stop } = limits;
    let check_below = steps.saturating_sub(STOP_CHECK_STEPS);
    // A nested computation is charged to the outer one too.
    let outer = METER.get();
    let (steps, bytes) =
        if outer.counts { (steps.min(outer.steps), bytes.min(outer.bytes)) } else { (steps, bytes) };
    METER.set(Meter { steps, bytes, check_below, exceeded: outer.exceeded, counts: true });
    let outer_stop = stop.map(|stop| STOP.replace(Some(stop)));
    // A panic fails only the node. The data that the computation worked on is dropped with it.
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
    NodeError::new("RuntimeError", "the computation panicked").lasting()
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
        // Steps: six values and two keys. Bytes: the keys and "four".
        assert_eq!(used, Ok(Ok(Some((8, 6)))));
        assert_eq!(within(limits(5, 1_000), || Ok(walk(&value))), Err(Exceeded::Steps));
    }

    #[test]
    fn later_charges_fail_too_once_one_has_failed() {
        let result = within(limits(10, 100), || {
            assert_eq!(step(11), Err(Exceeded::Steps));
            assert_eq!(step(1), Err(Exceeded::Steps));
            assert_eq!(make(1), Err(Exceeded::Steps));
            assert_eq!(left(), None);
            Ok("something")
        });
        assert_eq!(result, Err(Exceeded::Steps));
        // The next computation is not affected, and outside a computation nothing is counted.
        assert_eq!(within(limits(10, 100), || Ok(step(10))), Ok(Ok(Ok(()))));
        assert_eq!(make(usize::MAX), Ok(()));
    }

    #[test]
    fn a_nested_computation_is_charged_to_the_outer_one_too() {
        let result = within(limits(10, 100), || {
            assert_eq!(within(limits(100, 10), || Ok(step(6))), Ok(Ok(Ok(()))));
            Ok(step(5))
        });
        assert_eq!(result, Err(Exceeded::Steps));
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let result = within(limits(10, 100), || -> Result<(), NodeError> { panic!("broken") });
        assert_eq!(result.expect("no limit").expect_err("an error").kind, "RuntimeError");
        assert_eq!(left(), None);
    }

    #[test]
    fn stops_when_canceled() {
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
        assert!(steps <= 2 * STOP_CHECK_STEPS, "{steps}");
    }
}
