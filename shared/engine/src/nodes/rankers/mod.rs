//! Rankers: nodes that sort and filter documents by relevance.

mod cohere;
mod llm;
mod time_weighted;

use super::Registered;

pub(super) const NODES: &[&Registered] =
    &[&cohere::COHERE_RERANKER, &llm::LLM_DOCUMENT_RANKER, &time_weighted::TIME_WEIGHTED_RANKER];
