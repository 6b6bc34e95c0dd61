//! Starts the processes of jobs.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use tokio::{
    net::UnixStream,
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

use super::ARGUMENT;

/// A thread that starts all processes of jobs.
///
/// The kernel kills a process whose parent dies (`PR_SET_PDEATHSIG`), and the parent is the thread that started it. A
/// thread of a pool will not do, since it may end earlier. A start on this thread also blocks no async thread.
#[derive(Debug, Default)]
pub(super) struct Starter {
    orders: Mutex<Option<mpsc::Sender<Order>>>,
}

struct Order {
    program: Option<PathBuf>,
    runtime: Handle,
    started: oneshot::Sender<io::Result<(Child, StdStream)>>,
}

impl Starter {
    /// Starts a process, which is killed when dropped; returns it and the other end of its socket.
    pub(super) async fn start(&self, program: Option<PathBuf>) -> io::Result<(Child, UnixStream)> {
        let (started, starting) = oneshot::channel();
        self.order(Order { program, runtime: Handle::current(), started })?;
        let (child, socket) = starting.await.map_err(io::Error::other)??;
        socket.set_nonblocking(true)?;
        Ok((child, UnixStream::from_std(socket)?))
    }

    fn order(&self, order: Order) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = if let Some(sender) = &*orders {
            sender
        } else {
            let (sender, receiver) = mpsc::channel::<Order>();
            thread::Builder::new().name("jobs".to_owned()).spawn(move || {
                for order in receiver {
                    let _runtime = order.runtime.enter();
                    // If the caller is gone, this drops the process, which kills it.
                    let _ = order.started.send(spawn(order.program));
                }
            })?;
            orders.insert(sender)
        };
        sender.send(order).map_err(io::Error::other)
    }
}

fn spawn(program: Option<PathBuf>) -> io::Result<(Child, StdStream)> {
    let (ours, theirs) = StdStream::pair()?;
    // The running executable, even if its file has been replaced.
    let child = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()))
        .arg(ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, ours))
}
