//! One evaluation: what a forked process does from the fork to its answer.

use std::{
    io, mem,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{net::RecvFlags, process::Pid};
use serde_json::value::RawValue;

use crate::{
    child::Zygote,
    lockdown,
    wire::{self, Failure, Reply, Request},
};

/// Runs in the forked process; `parent` forked it.
pub(crate) fn run(zygote: &Zygote, parent: Pid, memory_bytes: u64, socket: OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(&socket)?;
    // It is closed together with all others below. Closing it later could close a descriptor that reuses its number.
    mem::forget(socket);
    let socket = io::stdin();
    let socket = socket.as_fd();
    lockdown::evaluation(parent, zygote.mapped_bytes.saturating_add(memory_bytes))?;
    if !is_asked(socket)? {
        // Before the request arrives, copies the memory pages that every evaluation writes to.
        zygote.python.rehearse();
    }

    let (cpu_seconds, request) = read_request(socket)?;
    lockdown::before_user_code(cpu_seconds.into(), zygote.filter.as_ref())?;
    let request: Request<'_> = serde_json::from_slice(&request)?;
    let value = match (zygote.probe)(&request.code) {
        Some(value) => {
            RawValue::from_string(value.to_string()).map_err(|error| Failure::Output(error.to_string()))
        }
        None => zygote.python.evaluate(&request),
    };
    let reply = match value {
        Ok(value) => wire::frame(&Reply::Value(&value))?,
        Err(failure) => wire::frame(&Reply::Failure(failure))?,
    };
    write_all(socket, &reply)
}

/// Whether the request has arrived.
fn is_asked(socket: BorrowedFd<'_>) -> io::Result<bool> {
    // `poll` would fail: the limit on descriptors is 0.
    let mut first = [0; 1];
    match rustix::net::recv(socket, &mut first, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads the limit on processor time in seconds, and the body of the frame that follows it.
pub(crate) fn read_request(socket: BorrowedFd<'_>) -> io::Result<(u32, Vec<u8>)> {
    let mut head = [[0; 4]; 2];
    read_exact(socket, head.as_flattened_mut())?;
    let [cpu_seconds, length] = head.map(u32::from_le_bytes);
    let mut body = vec![0; length as usize];
    read_exact(socket, &mut body)?;
    Ok((cpu_seconds, body))
}

fn read_exact(socket: BorrowedFd<'_>, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match rustix::io::read(socket, &mut *into)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => into = &mut into[read..],
        }
    }
    Ok(())
}

pub(crate) fn write_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(socket, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
