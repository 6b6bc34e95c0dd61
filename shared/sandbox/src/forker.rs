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

/// A template takes a few milliseconds; code that needs longer to compile does without.
const TEMPLATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Any number of tasks may order evaluations at the same time: an order is one record.
#[derive(Debug)]
pub(crate) struct Forker {
    control: UnixStream,
    /// Forked before it is needed, since a fork takes longer than a small function.
    spare: Mutex<Option<Evaluation>>,
    /// How many of its evaluations are under way.
    begun: Arc<AtomicUsize>,
    last_id: AtomicU64,
    memory_bytes: u64,
}

/// An evaluation that is under way. Dropped, it is killed.
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

/// A forked process that waits for its request.
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

    /// What the process says of itself.
    pub(crate) async fn hello(&mut self) -> io::Result<Hello> {
        let hello = receive(&mut self.control, 64 * 1024).await?;
        Ok(serde_json::from_slice(&hello)?)
    }

    /// Has an evaluation started.
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

    /// Has the next evaluation forked, unless others are under way: beside these it would take their processor, and what it
    /// does ahead is no gain where another waits for it. Without it the next one is slower, or finds out what is wrong.
    pub(crate) async fn replace_spare(&self) {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.begun.load(Ordering::Relaxed) == 0 && spare().is_none();
        if wanted && let Ok(evaluation) = self.prepare().await {
            // Another task may have had the same thought: then one of the two ends unused.
            spare().get_or_insert(evaluation);
        }
    }

    /// Has a template of `code` made, if the code compiles.
    pub(crate) async fn template(&self, code: &str) -> io::Result<Self> {
        let (id, memory_bytes) = (self.next_id(), self.memory_bytes);
        let control = self.fork(Order::Template { id, memory_bytes }).await?;
        let mut template = Self::new(control, memory_bytes);
        let told = wire::frame(&Template { template: code.into() })?;
        // The four bytes before it are an evaluation's.
        let told = [&[0; 4][..], &told].concat();
        let ready = async {
            template.control.write_all(&told).await?;
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

    /// Sends an order with one end of a new socket; gives the other.
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

/// One frame; what is written may come from hostile code, so its length is believed up to `limit` and a bit.
pub(crate) async fn receive(socket: &mut UnixStream, limit: usize) -> io::Result<Vec<u8>> {
    let length = socket.read_u32_le().await? as usize;
    if length > limit.saturating_add(64 * 1024) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok(body)
}
