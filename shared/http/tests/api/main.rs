//! The contract, asked of the router in process. Every answer is held against the `OpenAPI` document.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod auth;
mod create;
mod document;
mod envelope;
mod events;
mod files;
mod hostile;
mod input;
mod list;
mod memory;
mod patience;
mod public;
mod quota;
mod world;
