//! `runyard-python`: the sandbox of Python nodes as a separate program.
//!
//! It is in a Lambda layer, so that functions that execute no runs, and stacks without Python nodes, do not load it. A
//! function starts it when a run reaches its first Python node. In `runyard`, and in functions built with `embedded`,
//! the interpreter is part of the executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    runyard_sandbox::enter_if_asked();
    eprintln!("runyard-python is started by Runyard's functions for Python nodes; it has no other use");
    ExitCode::from(2)
}
