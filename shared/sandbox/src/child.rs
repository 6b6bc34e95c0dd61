//! The zygote, and what it forks.

use std::{
    io::{self, IoSliceMut},
    mem::{self, MaybeUninit},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags},
    process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus},
};
use serde_json::value::RawValue;

use crate::{
    lockdown::{self, raw},
    python::Python,
    wire::{self, ARGUMENT, Failure, Hello, Order, Reply, Request},
};

/// Answers code in the interpreter's stead, so that a test can see what native code could do there.
type Probe = fn(&str) -> Option<serde_json::Value>;

/// Becomes the sandbox and never returns, if this process was started to be one.
///
/// The first thing in `main`, before there is a thread, a runtime or a parsed argument.
pub fn enter_if_asked() {
    enter_with_probe(|_| None);
}

/// For tests only.
#[doc(hidden)]
pub fn enter_with_probe(probe: Probe) {
    if std::env::args_os().nth(1).is_some_and(|it| it == ARGUMENT) {
        let code = match Zygote::warm(probe) {
            Ok(mut zygote) => i32::from(zygote.serve().is_err()),
            Err(error) => {
                // The server may be gone already.
                let _ = tell(&Hello::Failed(error.to_string()));
                1
            }
        };
        raw::exit(code);
    }
}

struct Zygote {
    own: Pid,
    /// What every evaluation has mapped before it begins: mostly the program, and not the user code's doing.
    mapped_bytes: u64,
    python: Python,
    probe: Probe,
    filtered: bool,
    running: Vec<Running>,
}

/// An evaluation, as the zygote knows it.
struct Running {
    id: u64,
    pid: Pid,
    process: OwnedFd,
    /// The evaluation's end of its socket. It tells when the server has let go of the other, and takes
    /// what the evaluation could not say itself.
    socket: OwnedFd,
    /// `None` before it has a request.
    deadline: Option<Instant>,
}

impl Zygote {
    fn warm(probe: Probe) -> io::Result<Self> {
        lockdown::zygote()?;
        let python = Python::warm().map_err(io::Error::other)?;
        let mapped_bytes = lockdown::mapped_bytes()?;
        let filtered = filter_works()?;
        tell(&if filtered { Hello::Ready } else { Hello::Unfiltered })?;
        Ok(Self {
            own: rustix::process::getpid(),
            mapped_bytes,
            python,
            probe,
            filtered,
            running: Vec::new(),
        })
    }

    /// Until the server is gone. Whatever fails here ends the zygote, and with it all that it forked.
    fn serve(&mut self) -> io::Result<()> {
        let control = io::stdin();
        let control = control.as_fd();
        loop {
            let ordered = self.wait(control)?;
            self.reap()?;
            if !ordered {
                continue;
            }
            match receive(control)? {
                Received::Nothing => return Ok(()),
                Received::Prepare { id, memory_bytes, socket } => self.prepare(id, memory_bytes, socket)?,
                Received::Start { id, timeout } => {
                    // It may have died meanwhile, and its socket tells.
                    if let Some(running) = self.running.iter_mut().find(|it| it.id == id) {
                        running.deadline = Some(Instant::now() + timeout);
                    }
                }
            }
        }
    }

    /// Whether there is an order.
    fn wait(&self, control: BorrowedFd<'_>) -> io::Result<bool> {
        let next = self.running.iter().filter_map(|it| it.deadline).min();
        let timeout = next.map(|it| it.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|it| Timespec::try_from(it).ok());
        let mut polled = vec![PollFd::from_borrowed_fd(control, PollFlags::IN)];
        for running in &self.running {
            polled.push(PollFd::new(&running.process, PollFlags::IN));
            polled.push(PollFd::new(&running.socket, PollFlags::empty()));
        }
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!polled[0].revents().is_empty()),
            Err(error) => Err(error.into()),
        }
    }

    /// Buries the dead, kills the late and those that nobody waits for.
    fn reap(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut i = 0;
        while i < self.running.len() {
            let running = &self.running[i];
            let verdict = if let Some((_, status)) =
                rustix::process::waitpid(Some(running.pid), WaitOptions::NOHANG)?
            {
                verdict(status)
            } else if running.deadline.is_some_and(|it| it <= now) || abandoned(&running.socket)? {
                rustix::process::pidfd_send_signal(&running.process, Signal::KILL)?;
                rustix::process::waitpid(Some(running.pid), WaitOptions::empty())?;
                Some(Failure::Timeout)
            } else {
                i += 1;
                continue;
            };
            let running = self.running.swap_remove(i);
            // One that had no request yet is no answer to any: the server sees its socket close, and takes another.
            if running.deadline.is_some()
                && let Some(failure) = verdict
            {
                let frame = wire::frame(&Reply::Failure(failure))?;
                // The server may have gone, or be deaf: then nobody wants to know.
                let _ = rustix::net::send(&running.socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
        Ok(())
    }

    fn prepare(&mut self, id: u64, memory_bytes: u64, socket: OwnedFd) -> io::Result<()> {
        if let Some(pid) = raw::fork()? {
            let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            self.running.push(Running { id, pid, process, socket, deadline: None });
            return Ok(());
        }
        let done = panic::catch_unwind(AssertUnwindSafe(|| self.evaluate(memory_bytes, socket)));
        raw::exit(i32::from(!matches!(done, Ok(Ok(())))))
    }

    /// In the forked process.
    fn evaluate(&self, memory_bytes: u64, socket: OwnedFd) -> io::Result<()> {
        rustix::stdio::dup2_stdin(&socket)?;
        // Closed with all the others below, and its number may be another's by then.
        mem::forget(socket);
        let socket = io::stdin();
        let socket = socket.as_fd();
        lockdown::evaluation(self.own, self.mapped_bytes.saturating_add(memory_bytes))?;
        let filter = self.filtered.then(lockdown::filter).transpose().map_err(io::Error::other)?;
        // Makes its own copy of the memory that any evaluation writes to, while nobody waits.
        self.python.rehearse();

        let mut cpu_seconds = [0; 4];
        read_exact(socket, &mut cpu_seconds)?;
        let request = read_frame(socket)?;
        lockdown::before_user_code(u32::from_le_bytes(cpu_seconds).into(), filter.as_ref())?;
        let request: Request<'_> = serde_json::from_slice(&request)?;
        let value = match (self.probe)(&request.code) {
            Some(value) => {
                RawValue::from_string(value.to_string()).map_err(|error| Failure::Output(error.to_string()))
            }
            None => self.python.evaluate(&request),
        };
        let reply = match value {
            Ok(value) => wire::frame(&Reply::Value(&value))?,
            Err(failure) => wire::frame(&Reply::Failure(failure))?,
        };
        write_all(socket, &reply)
    }
}

/// Whether the system call filter can be had here; found out in a process that is thrown away.
fn filter_works() -> io::Result<bool> {
    let Some(pid) = raw::fork()? else {
        let taken = lockdown::filter().is_ok_and(|it| seccompiler::apply_filter(&it).is_ok());
        raw::exit(i32::from(!taken))
    };
    let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
    Ok(status.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}

fn tell(hello: &Hello) -> io::Result<()> {
    write_all(io::stdin().as_fd(), &wire::frame(hello)?)
}

enum Received {
    /// The server is gone.
    Nothing,
    Prepare {
        id: u64,
        memory_bytes: u64,
        socket: OwnedFd,
    },
    Start {
        id: u64,
        timeout: Duration,
    },
}

fn receive(control: BorrowedFd<'_>) -> io::Result<Received> {
    let mut bytes = [0; Order::LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(control, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(Received::Nothing);
    }
    if received.bytes != Order::LENGTH || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("half an order"));
    }
    let socket = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok(match (Order::from_bytes(bytes, socket.is_some()), socket) {
        (Order::Prepare { id, memory_bytes }, Some(socket)) => Received::Prepare { id, memory_bytes, socket },
        (Order::Start { id, timeout_ms }, _) => {
            Received::Start { id, timeout: Duration::from_millis(timeout_ms) }
        }
        (Order::Prepare { .. }, None) => return Err(io::Error::other("an order without a socket")),
    })
}

/// Whether the server closed its end.
fn abandoned(socket: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// What to tell the server of an evaluation that ended; nothing if it could tell by itself.
fn verdict(status: WaitStatus) -> Option<Failure> {
    let Some(signal) = status.terminating_signal() else {
        let code = status.exit_status().unwrap_or(-1);
        return (code != 0).then(|| Failure::Crashed(format!("exit code {code}")));
    };
    Some(match signal {
        libc::SIGXCPU => Failure::Timeout,
        // A panic unwinds, so what aborts is an allocation that failed.
        libc::SIGABRT => Failure::Memory,
        // The stack ended before the interpreter noticed.
        libc::SIGSEGV | libc::SIGBUS => Failure::Recursion,
        _ => Failure::Crashed(format!("signal {signal}")),
    })
}

fn read_frame(socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    read_exact(socket, &mut length)?;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    read_exact(socket, &mut body)?;
    Ok(body)
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

fn write_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(socket, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
