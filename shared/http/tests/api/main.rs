//! Tests the contract with an in-process router. Every response is checked against the `OpenAPI` document.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

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
mod platform;
mod public;
mod quota;
mod world;
