//! `FileStore`.
