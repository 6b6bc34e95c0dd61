//! Vector stores, behind one trait: [`VectorStore`]. Each store is one file.
//!
//! To add one: write `vectors/<name>.rs` with a type that implements [`VectorStore`] and a function that reads it from
//! a node's fields; then call that function in `nodes/retrievers` and `nodes/writers`.

mod api;
pub(crate) mod chroma;
mod filter;
pub(crate) mod memory;
pub(crate) mod pgvector;
pub(crate) mod pinecone;
mod postgres;
pub(crate) mod qdrant;
pub(crate) mod weaviate;

pub(crate) use filter::Filter;
pub(crate) use memory::Memory;

use crate::{
    document::Document,
    flow::{Call, LIMIT_EXCEEDED, NodeError},
};
use async_trait::async_trait;
use std::fmt;

/// Keeps documents, and finds those that are near a vector or contain words.
#[async_trait]
pub(crate) trait VectorStore: fmt::Debug + Send + Sync {
    /// Writes documents and returns their number. The last of several with the same id replaces the others, unless the
    /// store refuses them. After an error, some may have been written; writing is idempotent.
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        columns: Columns<'_>,
    ) -> Result<usize, StoreError>;

    /// Returns the best matching documents, the best first, each with its score and without its vector.
    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError>;

    /// Whether filters may have NOT, which most stores do not support.
    fn negates(&self) -> bool {
        false
    }

    /// Whether a score reaches the threshold. A score may be a similarity or a distance.
    fn passes(&self, score: f64, threshold: f64) -> bool;
}

/// A search.
#[derive(Clone, Copy)]
pub(crate) struct Query<'q> {
    pub(crate) vector: &'q [f64],
    /// Words to search for as well; for stores that support it.
    pub(crate) words: Option<&'q str>,
    /// The weight of the vector against the words: 1 is only the vector, 0 only the words.
    pub(crate) alpha: f64,
    /// Limit on the number of documents.
    pub(crate) limit: u32,
    pub(crate) filter: Option<&'q Filter>,
    /// The worst acceptable score; for stores that compare scores themselves.
    pub(crate) threshold: Option<f64>,
    /// Limit on the distance of vectors in a search with words; for stores that support it.
    pub(crate) max_distance: Option<f64>,
    pub(crate) columns: Columns<'q>,
}

/// The store's names for parts of a document, where the input overrides the node's.
#[derive(Clone, Copy, Default)]
pub(crate) struct Columns<'c> {
    pub(crate) content: Option<&'c str>,
    pub(crate) vector: Option<&'c str>,
}

/// Why a call to a store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreError {
    /// The name of the exception that the reference raises.
    kind: &'static str,
    message: String,
}

impl StoreError {
    /// With the name of an exception that only one store of the reference has.
    pub(crate) fn of(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The store refused the call, or could not be reached.
    pub(crate) fn store(message: impl Into<String>) -> Self {
        Self { kind: "VectorStoreException", message: message.into() }
    }

    /// The filter is invalid.
    pub(crate) fn filter(message: impl Into<String>) -> Self {
        Self { kind: "VectorStoreFilterException", message: message.into() }
    }

    /// The app's limit on documents in memory is reached.
    pub(crate) fn limit_exceeded(message: impl Into<String>) -> Self {
        Self { kind: LIMIT_EXCEEDED, message: message.into() }
    }

    /// The documents or the query do not match the store.
    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self { kind: "ValueError", message: message.into() }
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        if error.kind == LIMIT_EXCEEDED {
            return Self::limit_exceeded(error.message);
        }
        Self::new(error.kind, error.message)
    }
}
