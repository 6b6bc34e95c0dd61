//! Rankers: nodes that sort documents out.

mod llm;

use super::Registered;

pub(super) const NODES: &[&Registered] = &[&llm::LLM_DOCUMENT_RANKER];
