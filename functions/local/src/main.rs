//! `runyard`: the Runs API in one process, on SQLite and files, and its command line.

mod bench;
mod chaos;
mod check;
mod cli;
mod client;
mod connection;
mod dev_key;
mod exit;
mod framing;
mod keyring;
mod listen;
mod memory;
mod place;
mod plug;
mod progress;
mod reload;
mod server;
mod sweeper;
mod worker;

use crate::exit::Exit;
use std::{process::ExitCode, time::Duration};

/// Threads for blocking work: each takes 2 MiB of address space, and few of them are busy at a time.
const BLOCKING_THREADS: usize = 64;

fn main() -> ExitCode {
    runyard_boot::enter_sandbox_if_asked();
    if std::env::args_os().nth(1).is_some_and(|command| command == check::COMMAND) {
        // Before anything else starts: the check sets its own limits and needs nothing else.
        return match check::here() {
            Ok(()) => Exit::Done.into(),
            Err(error) => {
                anstream::eprintln!("error: {error:#}");
                Exit::Trouble.into()
            }
        };
    }
    memory::restrain_allocator();
    let cli = cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: cannot start threads: {error}");
            return Exit::Trouble.into();
        }
    };
    let exit = runtime.block_on(cli::dispatch(cli)).unwrap_or_else(|error| {
        cli::output::note(&format!("error: {error:#}"));
        Exit::of(&error)
    });
    // Blocking work that is still running no longer affects the result.
    runtime.shutdown_timeout(Duration::from_millis(200));
    exit.into()
}
