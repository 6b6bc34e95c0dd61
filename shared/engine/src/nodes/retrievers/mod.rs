//! Retrievers: nodes that find documents in a store. `InMemoryDocumentRetriever` is ours; the reference has none.

mod document;
mod format;
mod vector_store;

use super::Registered;
use crate::vectors::{chroma, memory, pgvector, weaviate};

pub(super) const NODES: &[&Registered] =
    &[&CHROMA, &IN_MEMORY, &PGVECTOR, &vector_store::VECTOR_STORE_RETRIEVER, &WEAVIATE];

const CHROMA: Registered = Registered {
    class: "retrievers.ChromaDocumentRetriever",
    name: Some("chroma-document-retriever"),
    timeout: None,
    build: |_, fields, loading| document::build(chroma::read(fields, loading), fields),
};

const IN_MEMORY: Registered = Registered {
    class: "retrievers.InMemoryDocumentRetriever",
    name: Some("in-memory-document-retriever"),
    timeout: None,
    build: |_, fields, _| document::build(Some(memory::read(fields)), fields),
};

const PGVECTOR: Registered = Registered {
    class: "retrievers.PGVectorDocumentRetriever",
    name: Some("pgvector-document-retriever"),
    timeout: None,
    build: |_, fields, loading| document::build(pgvector::read(fields, loading), fields),
};

const WEAVIATE: Registered = Registered {
    class: "retrievers.WeaviateDocumentRetriever",
    name: Some("weaviate-document-retriever"),
    timeout: None,
    build: |_, fields, loading| document::build(weaviate::read(fields, loading), fields),
};
