//! Retrievers: nodes that find documents in a store. The reference has no `InMemoryDocumentRetriever`.

mod document;
mod format;
mod vector_store;

use super::Registered;
use crate::vectors::{chroma, memory, pgvector, pinecone, qdrant, weaviate};

pub(super) const NODES: &[&Registered] =
    &[&CHROMA, &IN_MEMORY, &PGVECTOR, &PINECONE, &QDRANT, &vector_store::VECTOR_STORE_RETRIEVER, &WEAVIATE];

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

const PINECONE: Registered = Registered {
    class: "retrievers.PineconeDocumentRetriever",
    name: Some("pinecone-document-retriever"),
    timeout: None,
    build: |_, fields, loading| document::build(pinecone::read(fields, loading), fields),
};

const QDRANT: Registered = Registered {
    class: "retrievers.QdrantDocumentRetriever",
    name: Some("qdrant-document-retriever"),
    timeout: None,
    build: |_, fields, loading| document::build(qdrant::read(fields, loading), fields),
};

const WEAVIATE: Registered = Registered {
    class: "retrievers.WeaviateDocumentRetriever",
    name: Some("weaviate-document-retriever"),
    timeout: None,
    build: |_, fields, loading| document::build(weaviate::read(fields, loading), fields),
};
