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
    pid: Pid,
    process: OwnedFd,
    /// The evaluation's end of its socket. It tells when the server has let go of the other, and takes
    /// what the evaluation could not say itself.
    socket: OwnedFd,
    deadline: Instant,
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
            if ordered {
                let Some((order, socket)) = receive(control)? else { return Ok(()) };
                self.start(order, socket)?;
            }
        }
    }

    /// Whether there is an order.
    fn wait(&self, control: BorrowedFd<'_>) -> io::Result<bool> {
        let next = self.running.iter().map(|it| it.deadline).min();
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
            } else if running.deadline <= now || abandoned(&running.socket)? {
                rustix::process::pidfd_send_signal(&running.process, Signal::KILL)?;
                rustix::process::waitpid(Some(running.pid), WaitOptions::empty())?;
                Some(Failure::Timeout)
            } else {
                i += 1;
                continue;
            };
            let running = self.running.swap_remove(i);
            if let Some(failure) = verdict {
                let frame = wire::frame(&Reply::Failure(failure))?;
                // The server may have gone, or be deaf: then nobody wants to know.
                let _ = rustix::net::send(&running.socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
        Ok(())
    }

    fn start(&mut self, order: Order, socket: OwnedFd) -> io::Result<()> {
        // Before the fork, where its failure is an error and not a lost process.
        let timeout = Duration::from_millis(order.timeout_ms);
        let deadline = Instant::now() + timeout;
        if let Some(pid) = raw::fork()? {
            let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            self.running.push(Running { pid, process, socket, deadline });
            return Ok(());
        }
        let done = panic::catch_unwind(AssertUnwindSafe(|| self.evaluate(order, socket)));
        raw::exit(i32::from(!matches!(done, Ok(Ok(())))))
    }

    /// In the forked process.
    fn evaluate(&self, order: Order, socket: OwnedFd) -> io::Result<()> {
        rustix::stdio::dup2_stdin(&socket)?;
        // Closed with all the others below, and its number is another's by then.
        mem::forget(socket);
        let filter = self.filtered.then(lockdown::filter).transpose().map_err(io::Error::other)?;
        let cpu_seconds = order.timeout_ms.div_ceil(1000) + 1;
        let memory_bytes = self.mapped_bytes.saturating_add(order.memory_bytes);
        lockdown::evaluation(self.own, cpu_seconds, memory_bytes, filter.as_ref())?;

        let socket = io::stdin();
        let request = read_frame(socket.as_fd())?;
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
        write_all(socket.as_fd(), &reply)
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

/// An order and the socket that came with it; `None` if the server is gone.
fn receive(control: BorrowedFd<'_>) -> io::Result<Option<(Order, OwnedFd)>> {
    let mut bytes = [0; Order::LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        control,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.bytes != Order::LENGTH || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("half an order"));
    }
    let socket = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    let socket = socket.ok_or_else(|| io::Error::other("an order without a socket"))?;
    Ok(Some((Order::from_bytes(bytes), socket)))
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
