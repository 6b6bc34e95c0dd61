//! Writers: nodes that write documents to a store. The reference has no `InMemoryDocumentWriter`.

mod document;
mod vector_store;

use super::Registered;
use crate::vectors::{chroma, memory, pgvector, pinecone, qdrant, weaviate};

pub(super) const NODES: &[&Registered] =
    &[&CHROMA, &IN_MEMORY, &PGVECTOR, &PINECONE, &QDRANT, &vector_store::VECTOR_STORE_WRITER, &WEAVIATE];

const CHROMA: Registered = Registered {
    class: "writers.ChromaDocumentWriter",
    name: Some("chroma-document-writer"),
    timeout: None,
    build: |_, fields, loading| document::build(chroma::read(fields, loading)),
};

const IN_MEMORY: Registered = Registered {
    class: "writers.InMemoryDocumentWriter",
    name: Some("in-memory-document-writer"),
    timeout: None,
    build: |_, fields, _| document::build(Some(memory::read(fields))),
};

const PGVECTOR: Registered = Registered {
    class: "writers.PGVectorDocumentWriter",
    name: Some("pgvector-document-writer"),
    timeout: None,
    build: |_, fields, loading| document::build(pgvector::read(fields, loading)),
};

const PINECONE: Registered = Registered {
    class: "writers.PineconeDocumentWriter",
    name: Some("pinecone-document-writer"),
    timeout: None,
    build: |_, fields, loading| document::build(pinecone::read_to_write(fields, loading)),
};

const QDRANT: Registered = Registered {
    class: "writers.QdrantDocumentWriter",
    name: Some("qdrant-document-writer"),
    timeout: None,
    build: |_, fields, loading| document::build(qdrant::read(fields, loading)),
};

const WEAVIATE: Registered = Registered {
    class: "writers.WeaviateDocumentWriter",
    name: Some("weaviate-document-writer"),
    timeout: None,
    build: |_, fields, loading| document::build(weaviate::read(fields, loading)),
};
