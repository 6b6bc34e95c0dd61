//! The ports on an emulator of AWS: the conformance suite, and the promises of these ports beyond it.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test may panic")]

mod apps;
mod files;
#[path = "../fixture/mod.rs"]
mod fixture;
mod keys;
mod place;
mod presign;
mod queue;
mod secrets;
