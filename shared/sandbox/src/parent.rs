//! The server's side: starts the zygote, gives evaluations to it or to a template, and waits for what they say.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::DumpableBehavior;
use serde_json::{Map, Value};
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    process::{Child, Command},
    sync::Mutex,
    time,
};

use crate::{
    Error,
    forker::{self, Begun, Forker},
    templates::Templates,
    turns::Turns,
    wire::{self, ARGUMENT, Hello, Reply, Request},
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
    /// Codes that have a process of their own, which has compiled them, while they are evaluated again and again; an owner has
    /// half of these at most. 0: none.
    pub max_templates: usize,
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
            max_templates: 8,
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
    templates: Templates,
    zygote: Mutex<Option<Arc<Zygote>>>,
}

#[derive(Debug)]
struct Zygote {
    child: Child,
    forker: Forker,
}

impl Sandbox {
    /// A sandbox with its own processes and limits.
    pub fn new(config: Config) -> Self {
        let turns = Turns::new(config.max_processes);
        let templates = Templates::new(config.max_templates);
        Self { inner: Arc::new(Inner { config, turns, templates, zygote: Mutex::new(None) }) }
    }

    /// Starts what the first evaluation would start.
    pub async fn warm(&self) -> Result<(), Error> {
        self.inner.zygote().await.map(|_| ()).map_err(Error::Unavailable)
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
        // Code that reaches nothing outside can be run again if what forked it was killed under it.
        match self.inner.in_template(owner, code, timeout, &request).await {
            Err(Lost::Forker) => {}
            Err(Lost::Because(error)) => return Err(error),
            Ok(value) => return Ok(value),
        }
        self.inner.in_zygote(timeout, &request).await.map_err(|lost| match lost {
            Lost::Forker => Error::Crashed("the sandbox was killed twice".to_owned()),
            Lost::Because(error) => error,
        })
    }

    /// The zygote's process, if one runs.
    pub async fn process_id(&self) -> Option<u32> {
        self.inner.zygote.lock().await.as_ref().and_then(|it| it.child.id())
    }
}

enum Lost {
    /// The process that forked it, and not by this evaluation's doing.
    Forker,
    Because(Error),
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

impl Inner {
    /// In a template, if the code came before; else, or where it has none, as any.
    async fn in_template(
        &self,
        owner: u128,
        code: &str,
        timeout: Duration,
        request: &[u8],
    ) -> Result<Value, Lost> {
        let Some(slot) = self.templates.slot(owner, code, Instant::now()) else {
            return self.in_zygote(timeout, request).await;
        };
        let made = slot.get_or_init(async || match self.zygote().await {
            // Without one it is slower, or finds out what is wrong.
            Ok(zygote) => zygote.forker.template(code).await.ok(),
            Err(_) => None,
        });
        let Some(template) = made.await else { return self.in_zygote(timeout, request).await };
        let ended = match template.begin(timeout).await {
            Ok(begun) => self.evaluate(begun, template, timeout, request).await,
            Err(_) => Err(Stuck::Forker),
        };
        ended.map_err(|stuck| {
            if !matches!(stuck, Stuck::Because(_)) {
                self.templates.forget(owner, code);
            }
            stuck.into()
        })
    }

    async fn in_zygote(&self, timeout: Duration, request: &[u8]) -> Result<Value, Lost> {
        let (zygote, begun) = self.begin(timeout).await.map_err(Error::Unavailable)?;
        let ended = self.evaluate(begun, &zygote.forker, timeout, request).await;
        if matches!(ended, Err(Stuck::Late)) {
            tracing::warn!("the python sandbox did not keep a deadline, starting another");
            self.discard(&zygote).await;
            zygote.kill();
        }
        ended.map_err(Into::into)
    }

    /// What comes of an evaluation that has begun.
    async fn evaluate(
        &self,
        mut begun: Begun,
        forker: &Forker,
        timeout: Duration,
        request: &[u8],
    ) -> Result<Value, Stuck> {
        let limit = self.config.max_output_bytes;
        let told = async {
            // An evaluation that died early has said why, or its forker has.
            let _ = begun.socket.write_all(request).await;
            forker::receive(&mut begun.socket, limit).await
        };
        let told = time::timeout(timeout + GRACE, told).await.map_err(|_| Stuck::Late)?;
        drop(begun);
        forker.replace_spare().await;
        match told {
            Ok(reply) => match serde_json::from_slice(&reply) {
                Ok(Reply::Value(value)) => serde_json::from_str(value.get())
                    .map_err(|error| Stuck::Because(Error::Output(error.to_string()))),
                Ok(Reply::Failure(failure)) => Err(Stuck::Because(failure.into())),
                Err(error) => Err(Stuck::Because(Error::Crashed(format!("its answer is no json: {error}")))),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Stuck::Because(Error::Crashed(error.to_string())))
            }
            Err(_) => Err(Stuck::Forker),
        }
    }

    /// Has an evaluation started in the zygote.
    async fn begin(&self, timeout: Duration) -> io::Result<(Arc<Zygote>, Begun)> {
        let zygote = self.zygote().await?;
        if let Ok(begun) = zygote.forker.begin(timeout).await {
            return Ok((zygote, begun));
        }
        tracing::warn!("the python sandbox was killed, starting another");
        self.discard(&zygote).await;
        let zygote = self.zygote().await?;
        let begun = zygote.forker.begin(timeout).await?;
        Ok((zygote, begun))
    }

    /// The zygote that runs. It may be dead: then nothing begins in it.
    async fn zygote(&self) -> io::Result<Arc<Zygote>> {
        let mut zygote = self.zygote.lock().await;
        match &*zygote {
            Some(zygote) => Ok(zygote.clone()),
            None => Ok(zygote.insert(Arc::new(self.start().await?)).clone()),
        }
    }

    /// The next evaluation starts another, unless one was started already.
    async fn discard(&self, which: &Arc<Zygote>) {
        self.zygote.lock().await.take_if(|it| Arc::ptr_eq(it, which));
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
        let forker = Forker::new(UnixStream::from_std(ours)?, self.config.memory_bytes);
        let mut zygote = Zygote { child, forker };
        match time::timeout(START_TIMEOUT, zygote.forker.hello()).await?? {
            Hello::Ready => {}
            Hello::Unfiltered => {
                tracing::warn!(
                    "the kernel refuses a system call filter: python runs on resource limits alone"
                );
            }
            Hello::Failed(why) => return Err(io::Error::other(why)),
        }
        // Those that there were ended with the zygote before.
        self.templates.clear();
        Ok(zygote)
    }
}

/// Why an evaluation gave no value.
enum Stuck {
    /// It was lost with the process that forked it.
    Forker,
    /// It was not ended at its deadline.
    Late,
    Because(Error),
}

impl From<Stuck> for Lost {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Forker => Self::Forker,
            Stuck::Late => Self::Because(Error::Timeout),
            Stuck::Because(error) => Self::Because(error),
        }
    }
}

impl Zygote {
    /// With all that it forked, templates and what these forked too.
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
