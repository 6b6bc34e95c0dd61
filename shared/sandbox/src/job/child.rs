//! The child side of jobs.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    panic::{self, AssertUnwindSafe},
};

use super::{ARGUMENT, DONE, Head, PANICKED, TOO_LARGE, UNFILTERED};
use crate::lockdown::{self, Filter, raw};

/// Performs a job of the program: takes the job's name and input, returns its output. It runs in a process that has
/// only memory and a clock.
pub type Perform = fn(&str, Vec<u8>) -> Vec<u8>;

/// Becomes a job and never returns, if this process was started as one.
///
/// Must be the first statement of `main`: before any thread or runtime is started and any argument is parsed.
pub fn enter_job_if_asked(perform: Perform) {
    if std::env::args_os().nth(1).is_some_and(|it| it == ARGUMENT) {
        raw::exit(i32::from(serve(perform).is_err()));
    }
}

fn serve(perform: Perform) -> io::Result<()> {
    let mut socket = Socket(io::stdin());
    let mut head = [0; Head::LENGTH];
    socket.read_exact(&mut head)?;
    let head = Head::from_bytes(head);

    lockdown::zygote()?;
    let mapped_bytes = lockdown::mapped_bytes(lockdown::open_statm()?)?;
    let filter = Filter::evaluation().map_err(io::Error::other)?;
    let server = i32::try_from(head.server).ok().and_then(rustix::process::Pid::from_raw);
    let server = server.ok_or(io::ErrorKind::InvalidData)?;
    lockdown::evaluation(server, mapped_bytes.saturating_add(head.memory_bytes))?;
    let cpu_seconds = head.cpu_seconds.into();
    lockdown::before_user_code(cpu_seconds, None)?;
    let is_filtered = lockdown::before_user_code(cpu_seconds, Some(&filter)).is_ok();

    let mut read = |length: u64| {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        socket.read_exact(&mut bytes).map(|()| bytes)
    };
    let job = String::from_utf8(read(head.job_bytes)?).map_err(io::Error::other)?;
    let input = read(head.input_bytes)?;
    let done = panic::catch_unwind(AssertUnwindSafe(|| perform(&job, input)));
    let (kind, output) = match done {
        Ok(output) if output.len() as u64 > head.max_output_bytes => (TOO_LARGE, Vec::new()),
        Ok(output) => (DONE, output),
        Err(_) => (PANICKED, Vec::new()),
    };
    let kind = if is_filtered { kind } else { kind | UNFILTERED };
    socket.write_all(&[kind])?;
    socket.write_all(&(output.len() as u64).to_le_bytes())?;
    socket.write_all(&output)
}

/// The process's only descriptor, unbuffered.
struct Socket(io::Stdin);

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0.as_fd(), into)?)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0.as_fd(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
