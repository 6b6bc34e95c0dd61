//! Tools: nodes that do something, on their own or for an agent.

mod python;

use super::{Registered, mapping};

pub(super) const NODES: &[&Registered] = &[&python::PYTHON];
