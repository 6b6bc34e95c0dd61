//! The server's handle on a process that forks evaluations: the zygote, or a template.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::UnixStream,
    time,
};

use crate::wire::{self, Hello, Order, Template};

/// A template takes a few milliseconds; code that takes longer to compile gets none.
const TEMPLATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Any number of tasks may order evaluations concurrently: an order is one record.
#[derive(Debug)]
pub(crate) struct Forker {
    control: UnixStream,
    /// Forked in advance, since a fork takes longer than a small function.
    spare: Mutex<Option<Evaluation>>,
    /// Number of its running evaluations.
    begun: Arc<AtomicUsize>,
    last_id: AtomicU64,
    memory_bytes: u64,
}

/// A running evaluation. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) socket: UnixStream,
    count: Arc<AtomicUsize>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A forked process that is waiting for its request.
#[derive(Debug)]
struct Evaluation {
    id: u64,
    socket: UnixStream,
}

impl Forker {
    /// A handle on the process at the other end of `control`. `memory_bytes` limits each of its evaluations.
    pub(crate) fn new(control: UnixStream, memory_bytes: u64) -> Self {
        Self {
            control,
            spare: Mutex::new(None),
            begun: Arc::default(),
            last_id: AtomicU64::new(0),
            memory_bytes,
        }
    }

    /// Receives the process's greeting.
    pub(crate) async fn hello(&mut self) -> io::Result<Hello> {
        let hello = receive(&mut self.control, 64 * 1024).await?;
        Ok(serde_json::from_slice(&hello)?)
    }

    /// Starts an evaluation.
    pub(crate) async fn begin(&self, timeout: Duration) -> io::Result<Begun> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let evaluation = match spare {
            Some(spare) => spare,
            None => self.prepare().await?,
        };
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.send(Order::Start { id: evaluation.id, timeout_ms }, None).await?;
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(Begun { socket: evaluation.socket, count: self.begun.clone() })
    }

    /// Forks the next evaluation in advance, unless others are running: it would compete with them for the processor.
    /// If that fails, the next evaluation is slower, or reports the error.
    pub(crate) async fn replace_spare(&self) {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.begun.load(Ordering::Relaxed) == 0 && spare().is_none();
        if wanted && let Ok(evaluation) = self.prepare().await {
            // Another task may have done the same: then one of the two ends unused.
            spare().get_or_insert(evaluation);
        }
    }

    /// Makes a template of `code`; an error if the code does not compile.
    pub(crate) async fn template(&self, code: &str) -> io::Result<Self> {
        let (id, memory_bytes) = (self.next_id(), self.memory_bytes);
        let control = self.fork(Order::Template { id, memory_bytes }).await?;
        let mut template = Self::new(control, memory_bytes);
        let frame = wire::frame(&Template { template: code.into() })?;
        // Four zero bytes in place of an evaluation's limit on processor time.
        let request = [&[0; 4][..], &frame].concat();
        let ready = async {
            template.control.write_all(&request).await?;
            template.hello().await
        };
        match time::timeout(TEMPLATE_TIMEOUT, ready).await?? {
            Hello::Ready => Ok(template),
            _ => Err(io::Error::other("no template")),
        }
    }

    async fn prepare(&self) -> io::Result<Evaluation> {
        let (id, memory_bytes) = (self.next_id(), self.memory_bytes);
        let socket = self.fork(Order::Prepare { id, memory_bytes }).await?;
        Ok(Evaluation { id, socket })
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends an order with one end of a new socket pair, and returns the other end.
    async fn fork(&self, order: Order) -> io::Result<UnixStream> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        self.send(order, Some(theirs.into())).await?;
        UnixStream::from_std(ours)
    }

    async fn send(&self, order: Order, socket: Option<OwnedFd>) -> io::Result<()> {
        let bytes = order.to_bytes();
        self.control
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                let sockets = socket.as_ref().map(|it| [it.as_fd()]);
                if let Some(sockets) = &sockets {
                    ancillary.push(SendAncillaryMessage::ScmRights(sockets));
                }
                let sent = rustix::net::sendmsg(
                    &self.control,
                    &[IoSlice::new(&bytes)],
                    &mut ancillary,
                    SendFlags::NOSIGNAL,
                )?;
                if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
            })
            .await
    }
}

/// Reads one frame. It may come from hostile code, so a length of more than `limit` and 64 KiB is an error.
pub(crate) async fn receive(socket: &mut UnixStream, limit: usize) -> io::Result<Vec<u8>> {
    let length = socket.read_u32_le().await? as usize;
    if length > limit.saturating_add(64 * 1024) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok(body)
}
