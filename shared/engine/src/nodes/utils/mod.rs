//! What a workflow begins and ends with.

mod input;
mod output;

use super::{Registered, operators::Pass};

pub(super) const NODES: &[&Registered] = &[&input::INPUT, &output::OUTPUT];
