//! The zygote, and templates, which are zygotes for one code: they fork evaluations and end them.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags},
    process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus},
};

use crate::{
    evaluation,
    lockdown::{self, Filter, raw},
    python::Python,
    template,
    wire::{self, ARGUMENT, Failure, Hello, Order, Reply},
};

/// Answers code instead of the interpreter, so that a test can see what native code could do in an evaluation.
pub(crate) type Probe = fn(&str) -> Option<serde_json::Value>;

/// Becomes the sandbox and never returns, if this process was started as one.
///
/// Must be the first statement of `main`: before any thread or runtime is started and any argument is parsed.
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
                // The server may already be gone.
                let _ = tell(&Hello::Failed(error.to_string()));
                1
            }
        };
        raw::exit(code);
    }
}

pub(crate) struct Zygote {
    own: Pid,
    /// The address space that every evaluation has before it begins: mostly the program, not caused by user code.
    pub(crate) mapped_bytes: u64,
    pub(crate) python: Python,
    pub(crate) probe: Probe,
    /// `None` if the kernel refuses it.
    pub(crate) filter: Option<Filter>,
    /// Ends after this long without a request. `None`: runs until the server is gone.
    idle_timeout: Option<Duration>,
    running: Vec<Running>,
}

/// A forked process: an evaluation or a template.
struct Running {
    id: u64,
    pid: Pid,
    process: OwnedFd,
    /// The process's end of its socket. It shows when the server has closed the other end, and carries the failure that
    /// an evaluation could not report itself.
    socket: OwnedFd,
    /// `None` until it has a request, and for templates.
    deadline: Option<Instant>,
}

enum Task {
    Evaluation,
    Template,
}

impl Zygote {
    fn warm(probe: Probe) -> io::Result<Self> {
        lockdown::zygote()?;
        let python = Python::warm().map_err(io::Error::other)?;
        let filter = Filter::evaluation().map_err(io::Error::other)?;
        let filtered = filter_works(&filter)?;
        let mapped_bytes = lockdown::mapped_bytes(lockdown::open_statm()?)?;
        tell(&if filtered { Hello::Ready } else { Hello::Unfiltered })?;
        Ok(Self {
            own: rustix::process::getpid(),
            mapped_bytes,
            python,
            probe,
            filter: filtered.then_some(filter),
            idle_timeout: None,
            running: Vec::new(),
        })
    }

    /// Serves until the server is gone. An error here ends the zygote, and with it all processes that it forked.
    pub(crate) fn serve(&mut self) -> io::Result<()> {
        let control = io::stdin();
        let control = control.as_fd();
        loop {
            match self.wait(control)? {
                Woken::Idle => return Ok(()),
                Woken::Other => {}
                Woken::Ordered => match receive(control)? {
                    Received::Closed => return Ok(()),
                    Received::Fork { id, memory_bytes, task, socket } => {
                        self.fork(id, memory_bytes, &task, socket)?;
                    }
                    Received::Start { id, timeout } => {
                        // If it has died, its socket reports that.
                        if let Some(running) = self.running.iter_mut().find(|it| it.id == id) {
                            running.deadline = Some(Instant::now() + timeout);
                        }
                    }
                },
            }
        }
    }

    /// Waits for an order, a deadline or the end of a forked process, and handles the latter two.
    fn wait(&mut self, control: BorrowedFd<'_>) -> io::Result<Woken> {
        let next = self.running.iter().filter_map(|it| it.deadline).min();
        // With nothing running but a spare, the idle timeout applies.
        let until = next.or_else(|| self.idle_timeout.map(|it| Instant::now() + it));
        let timeout = until.map(|it| it.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|it| Timespec::try_from(it).ok());
        let mut polled = Vec::with_capacity(1 + 2 * self.running.len());
        polled.push(PollFd::from_borrowed_fd(control, PollFlags::IN));
        for running in &self.running {
            polled.push(PollFd::new(&running.process, PollFlags::IN));
            polled.push(PollFd::new(&running.socket, PollFlags::empty()));
        }
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(0) if next.is_none() => return Ok(Woken::Idle),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Woken::Other),
            Err(error) => return Err(error.into()),
        }
        let seen: Vec<_> = polled.iter().map(PollFd::revents).collect();
        self.reap(&seen[1..])?;
        Ok(if seen[0].is_empty() { Woken::Other } else { Woken::Ordered })
    }

    /// Reaps ended processes, and kills those that are overdue or whose caller is gone. `seen` holds two poll results
    /// for each running process: of the process and of its socket.
    fn reap(&mut self, seen: &[PollFlags]) -> io::Result<()> {
        let now = Instant::now();
        // From the end, so that `swap_remove` does not move a process that is still to be checked.
        for (i, seen) in seen.chunks(2).enumerate().rev() {
            let running = &self.running[i];
            let dead = !seen[0].is_empty();
            let abandoned = seen[1].intersects(PollFlags::HUP | PollFlags::ERR);
            let late = running.deadline.is_some_and(|it| it <= now);
            if !dead && !late && !abandoned {
                continue;
            }
            if !dead {
                rustix::process::pidfd_send_signal(&running.process, Signal::KILL)?;
            }
            let ended = rustix::process::waitpid(Some(running.pid), WaitOptions::empty())?;
            let verdict =
                if dead { ended.and_then(|(_, status)| verdict(status)) } else { Some(Failure::Timeout) };
            let running = self.running.swap_remove(i);
            // Without a request there is nobody to answer: the server sees the socket close, and starts another
            // process.
            if running.deadline.is_some()
                && let Some(failure) = verdict
            {
                let frame = wire::frame(&Reply::Failure(failure))?;
                // Fails if the server is gone or does not read: then the failure is not needed.
                let _ = rustix::net::send(&running.socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
        Ok(())
    }

    fn fork(&mut self, id: u64, memory_bytes: u64, task: &Task, socket: OwnedFd) -> io::Result<()> {
        if let Some(pid) = raw::fork()? {
            let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            self.running.push(Running { id, pid, process, socket, deadline: None });
            return Ok(());
        }
        let zygote = self.own;
        let done = panic::catch_unwind(AssertUnwindSafe(|| match task {
            Task::Evaluation => evaluation::run(self, zygote, memory_bytes, socket),
            Task::Template => template::run(self, zygote, memory_bytes, socket),
        }));
        raw::exit(i32::from(!matches!(done, Ok(Ok(())))))
    }

    /// In a forked process: prepares it to serve as a zygote itself.
    pub(crate) fn settle(&mut self, mapped_bytes: u64, idle_timeout: Duration) {
        self.own = rustix::process::getpid();
        self.mapped_bytes = mapped_bytes;
        self.idle_timeout = Some(idle_timeout);
    }

    /// In a forked process: drops its handles on sibling processes, which it must not control.
    pub(crate) fn forget_siblings(&mut self) {
        // Their descriptors are closed together with all others.
        for running in std::mem::take(&mut self.running) {
            std::mem::forget((running.process, running.socket));
        }
    }
}

enum Woken {
    /// An order can be received.
    Ordered,
    Other,
    /// The idle timeout has passed.
    Idle,
}

/// Whether the kernel accepts the system call filter; tried in a process that is then discarded.
fn filter_works(filter: &Filter) -> io::Result<bool> {
    let Some(pid) = raw::fork()? else { raw::exit(i32::from(filter.apply().is_err())) };
    let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
    Ok(status.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}

pub(crate) fn tell(hello: &Hello) -> io::Result<()> {
    evaluation::write_all(io::stdin().as_fd(), &wire::frame(hello)?)
}

enum Received {
    /// The server is gone.
    Closed,
    Fork {
        id: u64,
        memory_bytes: u64,
        task: Task,
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
        return Ok(Received::Closed);
    }
    if received.bytes != Order::LENGTH || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("incomplete order"));
    }
    let socket = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok(match (Order::from_bytes(bytes, socket.is_some()), socket) {
        (Order::Prepare { id, memory_bytes }, Some(socket)) => {
            Received::Fork { id, memory_bytes, task: Task::Evaluation, socket }
        }
        (Order::Template { id, memory_bytes }, Some(socket)) => {
            Received::Fork { id, memory_bytes, task: Task::Template, socket }
        }
        (Order::Start { id, timeout_ms }, _) => {
            Received::Start { id, timeout: Duration::from_millis(timeout_ms) }
        }
        _ => return Err(io::Error::other("order without a socket")),
    })
}

/// The failure to report for an evaluation that ended; `None` if it reported its result itself.
fn verdict(status: WaitStatus) -> Option<Failure> {
    let Some(signal) = status.terminating_signal() else {
        let code = status.exit_status().unwrap_or(-1);
        return (code != 0).then(|| Failure::Crashed(format!("exit code {code}")));
    };
    Some(match signal {
        libc::SIGXCPU => Failure::Timeout,
        // A panic unwinds, so only a failed allocation aborts.
        libc::SIGABRT => Failure::Memory,
        // The stack overflowed before the interpreter reached its recursion limit.
        libc::SIGSEGV | libc::SIGBUS => Failure::Recursion,
        _ => Failure::Crashed(format!("signal {signal}")),
    })
}
