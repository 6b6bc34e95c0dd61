//! `runyard-python`: the sandbox of Python nodes as a program of its own.
//!
//! A Lambda layer carries it, so that functions which execute nothing, and stacks without Python nodes, do not load it. A function
//! starts it when a run comes to its first Python node. In `runyard`, and in functions built with `embedded`, the interpreter is
//! part of the executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    runyard_sandbox::enter_if_asked();
    eprintln!(
        "Runyard's functions start this for the Python nodes of workflows; there is no other use of it."
    );
    ExitCode::from(2)
}
