//! Rankers: nodes that sort documents out.

mod cohere;
mod llm;

use super::Registered;

pub(super) const NODES: &[&Registered] = &[&cohere::COHERE_RERANKER, &llm::LLM_DOCUMENT_RANKER];
