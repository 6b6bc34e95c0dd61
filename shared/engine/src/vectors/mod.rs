//! Stores of documents with their vectors, behind one seam: [`VectorStore`]. A store is one file.
//!
//! To add one: write `vectors/<name>.rs` with a type that implements [`VectorStore`] and a function that reads it from a node's
//! fields; then name that function in `nodes/retrievers` and `nodes/writers`.

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

/// Keeps documents, and finds those that are near to a vector or hold words.
#[async_trait]
pub(crate) trait VectorStore: fmt::Debug + Send + Sync {
    /// Writes documents, and tells how many; of those with the same id, the last stays, unless the store refuses them. All
    /// or, at an error, perhaps some: written again they are the same.
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        columns: Columns<'_>,
    ) -> Result<usize, StoreError>;

    /// The documents that fit best, the best first, each with its score and without its vector.
    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError>;

    /// Whether filters may say NOT, which most stores have no word for.
    fn negates(&self) -> bool {
        false
    }

    /// Whether a document of this score is as good as the threshold asks for. A score may be a likeness or a distance.
    fn passes(&self, score: f64, threshold: f64) -> bool;
}

/// What is searched for.
#[derive(Clone, Copy)]
pub(crate) struct Query<'q> {
    pub(crate) vector: &'q [f64],
    /// Words to look for as well; for stores that can.
    pub(crate) words: Option<&'q str>,
    /// What the vector counts against the words: 1 is the vector alone, 0 the words alone.
    pub(crate) alpha: f64,
    /// Documents that are wanted at most.
    pub(crate) limit: u32,
    pub(crate) filter: Option<&'q Filter>,
    /// The worst score that is wanted; for stores that know themselves which are better.
    pub(crate) threshold: Option<f64>,
    /// How far a vector may be where words are searched for too; for stores that can tell.
    pub(crate) max_distance: Option<f64>,
    pub(crate) columns: Columns<'q>,
}

/// What parts of a document are called in the store, where an input says another name than the node.
#[derive(Clone, Copy, Default)]
pub(crate) struct Columns<'c> {
    pub(crate) content: Option<&'c str>,
    pub(crate) vector: Option<&'c str>,
}

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreError {
    /// The name of the exception that the reference raises.
    kind: &'static str,
    message: String,
}

impl StoreError {
    /// With the name of an exception that one store of the reference has alone.
    pub(crate) fn of(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The store refused, or could not be reached.
    pub(crate) fn store(message: impl Into<String>) -> Self {
        Self { kind: "VectorStoreException", message: message.into() }
    }

    /// A filter that means nothing.
    pub(crate) fn filter(message: impl Into<String>) -> Self {
        Self { kind: "VectorStoreFilterException", message: message.into() }
    }

    /// More than an app may keep.
    pub(crate) fn limit_exceeded(message: impl Into<String>) -> Self {
        Self { kind: LIMIT_EXCEEDED, message: message.into() }
    }

    /// Documents or a query that do not fit the store.
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
