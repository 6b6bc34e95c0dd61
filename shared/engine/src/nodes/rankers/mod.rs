//! Rankers: nodes that sort documents out.

mod llm;
mod time_weighted;

use super::Registered;

pub(super) const NODES: &[&Registered] = &[&llm::LLM_DOCUMENT_RANKER, &time_weighted::TIME_WEIGHTED_RANKER];
