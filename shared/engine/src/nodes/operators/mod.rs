//! Operators: nodes that decide, repeat and pass on.

mod choice;
mod map;
mod pass;

pub(crate) use choice::is_option_result;
pub(super) use pass::Pass;

use super::{Registered, mapping};

pub(super) const NODES: &[&Registered] = &[&choice::CHOICE, &map::MAP, &pass::PASS];
