//! A template: a process that has compiled one code, and forks its evaluations.
//!
//! It never runs that code and never sees an input, so an evaluation cannot leave anything in it for the next. In
//! advance it does only what depends on the text of the code alone: it compiles the code, loads the modules of the
//! library that the code imports, and compiles the regular expressions in it.

use std::{
    io, mem,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use rustix::process::Pid;

use crate::{
    child::{self, Zygote},
    evaluation,
    lockdown::{self, Filter},
    wire::{Hello, Template},
};

/// A template ends this long after its last evaluation.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs in the forked process; `parent` forked it. Returns when the server has closed the socket, or when idle for too
/// long.
pub(crate) fn run(zygote: &mut Zygote, parent: Pid, memory_bytes: u64, socket: OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(&socket)?;
    // It is closed together with all others below. Closing it later could close a descriptor that reuses its number.
    mem::forget(socket);
    zygote.forget_siblings();
    lockdown::template(parent, zygote.mapped_bytes.saturating_add(memory_bytes))?;
    let statm = lockdown::open_statm()?;
    if zygote.filter.is_some() {
        Filter::template().map_err(io::Error::other)?.apply()?;
    }

    let (_, request) = evaluation::read_request(io::stdin().as_fd())?;
    let request: Template<'_> = serde_json::from_slice(&request)?;
    // An evaluation will report why the code does not compile.
    zygote.python.prepare(&request.template).map_err(|()| io::Error::other("the code does not compile"))?;
    drop(request);
    zygote.settle(lockdown::mapped_bytes(statm)?, IDLE_TIMEOUT);
    child::tell(&Hello::Ready)?;
    zygote.serve()
}
