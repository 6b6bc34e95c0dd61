//! Tools: nodes that do something, on their own or for an agent.

mod http;
mod python;

use super::{Registered, mapping};

pub(super) const NODES: &[&Registered] = &[&http::HTTP_API_CALL, &python::PYTHON];
