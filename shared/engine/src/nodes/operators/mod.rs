//! Operators: nodes that decide, compute, repeat, wait, or pass on their input.

mod choice;
mod decision_table;
mod delay;
mod expression;
mod map;
mod pass;
mod rules;
mod sub_workflow;

pub(crate) use choice::is_option_result;
pub(super) use pass::Pass;

use super::{Registered, mapping};
use crate::flow::Call;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

pub(super) const NODES: &[&Registered] = &[
    &choice::CHOICE,
    &decision_table::DECISION_TABLE,
    &delay::DELAY,
    &expression::EXPRESSION,
    &map::MAP,
    &pass::PASS,
    &rules::RULES,
    &sub_workflow::SUB_WORKFLOW,
];

/// Today's date in UTC, by the run's clock.
fn today(call: Call<'_>) -> Date {
    let now = Timestamp::from_millisecond(call.run.now().0).unwrap_or_default();
    TimeZone::UTC.to_datetime(now).date()
}
