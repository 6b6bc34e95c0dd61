//! The real executable, from outside: its HTTP, its files, its signals, its output.

mod cli;
mod crash;
mod dev;
mod exec;
mod harness;
mod hostile;
mod modes;
mod shutdown;
