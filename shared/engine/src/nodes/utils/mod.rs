//! The nodes at the start and the end of a workflow.

mod input;
mod output;

use super::{Registered, operators::Pass};

pub(super) const NODES: &[&Registered] = &[&input::INPUT, &output::OUTPUT];
