//! Rankers: nodes that sort documents out.

mod time_weighted;

use super::Registered;

pub(super) const NODES: &[&Registered] = &[&time_weighted::TIME_WEIGHTED_RANKER];
