//! A template: a process that has compiled one code, and forks the evaluations of it.
//!
//! It never runs any of that code and never sees an input, so there is nothing that one evaluation could leave in it for the
//! next. What it does ahead is what depends on the text of the code alone: it compiles it, loads the modules of the library
//! that the code imports, and compiles the regular expressions that stand in it.

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
const PATIENCE: Duration = Duration::from_secs(30);

/// In the forked process; `parent` forked it. Returns when the server has no more use of it.
pub(crate) fn run(zygote: &mut Zygote, parent: Pid, memory_bytes: u64, socket: OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(&socket)?;
    // Closed with all the others below, and its number may be another's by then.
    mem::forget(socket);
    zygote.forget_siblings();
    lockdown::template(parent, zygote.mapped_bytes.saturating_add(memory_bytes))?;
    let statm = lockdown::open_statm()?;
    if zygote.filter.is_some() {
        Filter::template().map_err(io::Error::other)?.apply()?;
    }

    let (_, told) = evaluation::read_request(io::stdin().as_fd())?;
    let told: Template<'_> = serde_json::from_slice(&told)?;
    // Code that does not compile says why in an evaluation.
    zygote.python.prepare(&told.template).map_err(|()| io::Error::other("the code does not compile"))?;
    drop(told);
    zygote.settle(lockdown::mapped_bytes(statm)?, PATIENCE);
    child::tell(&Hello::Ready)?;
    zygote.serve()
}
