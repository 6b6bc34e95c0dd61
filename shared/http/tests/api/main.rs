//! The contract, asked of the router in process. Every answer is held against the `OpenAPI` document.

mod auth;
mod create;
mod document;
mod envelope;
mod events;
mod files;
mod hostile;
mod input;
mod list;
mod world;
