//! Black-box tests of the executable: HTTP, files, signals, output.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test may panic")]

mod cancel;
mod chaos;
mod cli;
mod crash;
mod dev;
mod exec;
mod fair;
mod harness;
mod hostile;
mod jobs;
mod journals;
mod kill;
mod memory;
mod modes;
mod outside;
mod people;
mod public;
mod refund;
mod shutdown;
#[cfg(feature = "aws")]
mod stack;
mod strangers;
