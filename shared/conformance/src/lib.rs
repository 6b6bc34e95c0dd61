//! What each port promises, as tests that every implementation passes.
#![expect(clippy::missing_panics_doc, reason = "a suite panics where a promise is broken")]

pub mod memory;
pub mod service;
