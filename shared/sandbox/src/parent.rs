//! The server's side: starts the zygote, orders evaluations and waits for what they say.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process::DumpableBehavior,
};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::UnixStream,
    process::{Child, Command},
    sync::Mutex,
    time,
};

use crate::{
    Error,
    turns::Turns,
    wire::{self, ARGUMENT, Hello, Order, Reply, Request},
};

/// The zygote kills by the clock; this much later the server takes it for hung, and kills that too.
const GRACE: Duration = Duration::from_secs(2);
/// Far beyond what a run may take.
const LONGEST: Duration = Duration::from_hours(24);
/// A cold start takes a tenth of a second; a machine that swaps takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Limits, and what to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Evaluations at once, of which no owner gets more than half; more wait for their turn.
    pub max_processes: usize,
    /// What one evaluation may use beyond what the interpreter itself takes.
    pub memory_bytes: u64,
    /// Code and input together.
    pub max_input_bytes: usize,
    /// The result as JSON text.
    pub max_output_bytes: usize,
    /// A program whose `main` begins with `enter_if_asked`. `None` stands for the running program, whose `main` then does.
    pub program: Option<PathBuf>,
    /// Makes this process's memory unreadable to others of its user (`PR_SET_DUMPABLE` 0), the sandbox
    /// among them, should code ever break out of the interpreter and the filter. The price: no core dumps,
    /// no debugger, and a `/proc/<pid>` that belongs to root.
    pub hide_server: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_processes: 16,
            memory_bytes: 128 * 1024 * 1024,
            max_input_bytes: 16 * 1024 * 1024,
            max_output_bytes: 4 * 1024 * 1024,
            program: None,
            hide_server: true,
        }
    }
}

/// How `run` gets its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// `run({"a": 1})`
    One,
    /// `run(a=1)`
    Named,
}

/// Evaluates Python; cheap to clone. Starts nothing before the first evaluation.
#[derive(Debug, Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    turns: Turns,
    zygote: Mutex<Option<Zygote>>,
}

#[derive(Debug)]
struct Zygote {
    child: Child,
    control: UnixStream,
    /// Forked before it is needed, since a fork takes longer than a small function.
    spare: Option<Evaluation>,
    last_id: u64,
}

/// A forked process that waits for its request.
#[derive(Debug)]
struct Evaluation {
    id: u64,
    socket: UnixStream,
}

impl Sandbox {
    /// A sandbox with its own processes and limits.
    pub fn new(config: Config) -> Self {
        let turns = Turns::new(config.max_processes);
        Self { inner: Arc::new(Inner { config, turns, zygote: Mutex::new(None) }) }
    }

    /// Starts what the first evaluation would start.
    pub async fn warm(&self) -> Result<(), Error> {
        let mut zygote = self.inner.zygote.lock().await;
        self.inner.alive(&mut zygote).await.map(|_| ()).map_err(Error::Unavailable)
    }

    /// What the code's `run` gives for `input`. The timeout begins when it is this evaluation's turn; turns are shared
    /// fairly between owners, see [`Turns`].
    ///
    /// Dropping the future kills the evaluation.
    pub async fn run(
        &self,
        owner: u128,
        code: &str,
        input: &Map<String, Value>,
        arguments: Arguments,
        timeout: Duration,
    ) -> Result<Value, Error> {
        let config = &self.inner.config;
        let input =
            serde_json::value::to_raw_value(input).map_err(|error| Error::Unavailable(error.into()))?;
        let bytes = code.len() + input.get().len();
        if bytes > config.max_input_bytes {
            return Err(Error::Input { bytes, limit: config.max_input_bytes });
        }
        let request = wire::frame(&Request {
            code: code.into(),
            input: &input,
            named: arguments == Arguments::Named,
            max_output_bytes: config.max_output_bytes,
        });
        let request = request.map_err(|error| Error::Unavailable(error.into()))?;
        let timeout = timeout.clamp(Duration::from_millis(1), LONGEST);
        let cpu_seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let request = [&cpu_seconds.to_le_bytes()[..], &request].concat();

        let _turn = self.inner.turns.acquire(owner).await;
        // Code that reaches nothing outside can be run again if the zygote was killed under it.
        match self.inner.evaluate(timeout, &request).await {
            Err(Lost::Zygote) => {}
            Err(Lost::Because(error)) => return Err(error),
            Ok(value) => return Ok(value),
        }
        self.inner.evaluate(timeout, &request).await.map_err(|lost| match lost {
            Lost::Zygote => Error::Crashed("the sandbox was killed twice".to_owned()),
            Lost::Because(error) => error,
        })
    }

    /// The zygote's process, if one runs.
    pub async fn process_id(&self) -> Option<u32> {
        self.inner.zygote.lock().await.as_ref().and_then(|it| it.child.id())
    }
}

enum Lost {
    /// Not by this evaluation's doing.
    Zygote,
    Because(Error),
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

impl Inner {
    async fn evaluate(&self, timeout: Duration, request: &[u8]) -> Result<Value, Lost> {
        let mut socket = self.begin(timeout).await.map_err(Error::Unavailable)?;
        let limit = self.config.max_output_bytes;
        let told = async {
            // An evaluation that died early has said why, or its zygote has.
            let _ = socket.write_all(request).await;
            receive(&mut socket, limit).await
        };
        let Ok(told) = time::timeout(timeout + GRACE, told).await else {
            tracing::warn!("the python sandbox did not keep a deadline, starting another");
            self.discard().await;
            return Err(Error::Timeout.into());
        };
        drop(socket);
        self.replace_spare().await;
        match told {
            Ok(reply) => match serde_json::from_slice(&reply) {
                Ok(Reply::Value(value)) => {
                    serde_json::from_str(value.get()).map_err(|error| Error::Output(error.to_string()).into())
                }
                Ok(Reply::Failure(failure)) => Err(Error::from(failure).into()),
                Err(error) => Err(Error::Crashed(format!("its answer is no json: {error}")).into()),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::Crashed(error.to_string()).into())
            }
            Err(_) => Err(Lost::Zygote),
        }
    }

    /// Has an evaluation started; gives the socket to talk to it.
    async fn begin(&self, timeout: Duration) -> io::Result<UnixStream> {
        let mut zygote = self.zygote.lock().await;
        let memory_bytes = self.config.memory_bytes;
        if let Ok(socket) = self.alive(&mut zygote).await?.begin(timeout, memory_bytes).await {
            return Ok(socket);
        }
        // It died since it was last looked at.
        *zygote = None;
        self.alive(&mut zygote).await?.begin(timeout, memory_bytes).await
    }

    /// After an evaluation and not beside it, where it would take its processor.
    async fn replace_spare(&self) {
        if let Some(zygote) = self.zygote.lock().await.as_mut()
            && zygote.spare.is_none()
        {
            // Without one the next evaluation is slower, or finds out what is wrong.
            zygote.spare = zygote.prepare(self.config.memory_bytes).await.ok();
        }
    }

    async fn alive<'a>(&self, zygote: &'a mut Option<Zygote>) -> io::Result<&'a mut Zygote> {
        if let Some(running) = zygote
            && running.child.try_wait()?.is_some()
        {
            tracing::warn!("the python sandbox was killed, starting another");
            *zygote = None;
        }
        match zygote {
            Some(zygote) => Ok(zygote),
            None => Ok(zygote.insert(self.start().await?)),
        }
    }

    async fn start(&self) -> io::Result<Zygote> {
        if self.config.hide_server {
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        }
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        // The executable that runs, even if its file was replaced since.
        let program = self.config.program.clone().unwrap_or_else(|| "/proc/self/exe".into());
        let child = Command::new(program)
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut zygote = Zygote { child, control: UnixStream::from_std(ours)?, spare: None, last_id: 0 };
        let hello = time::timeout(START_TIMEOUT, receive(&mut zygote.control, 64 * 1024)).await??;
        match serde_json::from_slice(&hello)? {
            Hello::Ready => {}
            Hello::Unfiltered => {
                tracing::warn!(
                    "the kernel refuses a system call filter: python runs on resource limits alone"
                );
            }
            Hello::Failed(why) => return Err(io::Error::other(why)),
        }
        Ok(zygote)
    }

    async fn discard(&self) {
        if let Some(zygote) = self.zygote.lock().await.take() {
            zygote.kill();
        }
    }
}

impl Zygote {
    async fn begin(&mut self, timeout: Duration, memory_bytes: u64) -> io::Result<UnixStream> {
        let evaluation = match self.spare.take() {
            Some(spare) => spare,
            None => self.prepare(memory_bytes).await?,
        };
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        send(&self.control, Order::Start { id: evaluation.id, timeout_ms }, None).await?;
        Ok(evaluation.socket)
    }

    async fn prepare(&mut self, memory_bytes: u64) -> io::Result<Evaluation> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        self.last_id += 1;
        let id = self.last_id;
        send(&self.control, Order::Prepare { id, memory_bytes }, Some(&theirs)).await?;
        Ok(Evaluation { id, socket: UnixStream::from_std(ours)? })
    }

    /// With all that it forked.
    fn kill(&self) {
        let group = self.child.id().and_then(|it| rustix::process::Pid::from_raw(it.cast_signed()));
        if let Some(group) = group {
            // Gone already is as good.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn send(control: &UnixStream, order: Order, socket: Option<&StdStream>) -> io::Result<()> {
    control
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let sockets = socket.map(|it| [it.as_fd()]);
            if let Some(sockets) = &sockets {
                ancillary.push(SendAncillaryMessage::ScmRights(sockets));
            }
            let bytes = order.to_bytes();
            let sent =
                rustix::net::sendmsg(control, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
            if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        })
        .await
}

/// One frame; what is written may come from hostile code, so its length is believed up to `limit` and a bit.
async fn receive(socket: &mut UnixStream, limit: usize) -> io::Result<Vec<u8>> {
    let length = socket.read_u32_le().await? as usize;
    if length > limit.saturating_add(64 * 1024) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok(body)
}
