//! Tools: nodes that do something, on their own or for an agent.

mod human_feedback;
mod python;

use super::{Registered, mapping};

pub(super) const NODES: &[&Registered] = &[&human_feedback::HUMAN_FEEDBACK, &python::PYTHON];
