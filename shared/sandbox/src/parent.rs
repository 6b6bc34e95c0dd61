//! The server's side: starts the zygote, sends evaluations to it or to a template, and waits for their results.

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

/// The zygote enforces deadlines. This long after a missed one, the server considers the zygote hung and kills it.
const GRACE: Duration = Duration::from_secs(2);
/// Far longer than a run may take.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);
/// A cold start takes 0.1 s; longer on a machine that swaps.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Limits of evaluations, and the program to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Number of concurrent evaluations, at most half of them for one app; further ones wait for a permit.
    pub max_processes: usize,
    /// Number of templates, at most half of them for one app: processes that have compiled code that is evaluated
    /// repeatedly. 0 disables them.
    pub max_templates: usize,
    /// Bytes of memory that one evaluation may use beyond what the interpreter itself takes.
    pub memory_bytes: u64,
    /// Bytes of code and input together.
    pub max_input_bytes: usize,
    /// Bytes of the result as JSON text.
    pub max_output_bytes: usize,
    /// A program whose `main` begins with `enter_if_asked`. `None`: the running program, whose `main`
    /// must then begin with it.
    pub program: Option<PathBuf>,
    /// Makes this process's memory unreadable to other processes of its user (`PR_SET_DUMPABLE` 0). This includes the
    /// sandbox, in case code breaks out of the interpreter and the filter. The price: no core dumps, no debugger, and a
    /// `/proc/<pid>` that belongs to root.
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

/// How the code's `run` gets its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// `run({"a": 1})`
    One,
    /// `run(a=1)`
    Named,
}

/// Evaluates Python; cheap to clone. Starts no process before the first evaluation.
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
    /// Creates a sandbox with its own processes and limits.
    pub fn new(config: Config) -> Self {
        let turns = Turns::new(config.max_processes);
        let templates = Templates::new(config.max_templates);
        Self { inner: Arc::new(Inner { config, turns, templates, zygote: Mutex::new(None) }) }
    }

    /// Starts the processes that the first evaluation would start.
    pub async fn warm(&self) -> Result<(), Error> {
        self.inner.zygote().await.map(|_| ()).map_err(Error::Unavailable)
    }

    /// Returns what the code's `run` returns for `input`. The timeout begins when the evaluation has its permit;
    /// permits are shared fairly between apps, see [`Turns`].
    ///
    /// Dropping the future kills the evaluation.
    pub async fn run(
        &self,
        app: u128,
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
        let timeout = timeout.clamp(Duration::from_millis(1), MAX_TIMEOUT);
        let cpu_seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let request = [&cpu_seconds.to_le_bytes()[..], &request].concat();

        let _turn = self.inner.turns.acquire(app).await;
        // User code has no effects outside the sandbox, so it can be run again if the process that forked it was
        // killed.
        match self.inner.in_template(app, code, timeout, &request).await {
            Err(AttemptError::ForkerDied) => {}
            Err(AttemptError::Failed(error)) => return Err(error),
            Ok(value) => return Ok(value),
        }
        self.inner.in_zygote(timeout, &request).await.map_err(|error| match error {
            AttemptError::ForkerDied => Error::Crashed("the sandbox was killed twice".to_owned()),
            AttemptError::Failed(error) => error,
        })
    }

    /// The id of the zygote's process, if one is running.
    pub async fn process_id(&self) -> Option<u32> {
        self.inner.zygote.lock().await.as_ref().and_then(|it| it.child.id())
    }
}

/// Why an attempt gave no value.
enum AttemptError {
    /// The process that forked the evaluation died, and the evaluation did not cause it.
    ForkerDied,
    Failed(Error),
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Inner {
    /// Evaluates in a template, if the code was evaluated before and has one; otherwise in the zygote.
    async fn in_template(
        &self,
        app: u128,
        code: &str,
        timeout: Duration,
        request: &[u8],
    ) -> Result<Value, AttemptError> {
        let Some(slot) = self.templates.slot(app, code, Instant::now()) else {
            return self.in_zygote(timeout, request).await;
        };
        let made = slot.get_or_init(async || match self.zygote().await {
            // Without a template the evaluation is slower, or reports the error.
            Ok(zygote) => zygote.forker.template(code).await.ok(),
            Err(_) => None,
        });
        let Some(template) = made.await else { return self.in_zygote(timeout, request).await };
        let ended = match template.begin(timeout).await {
            Ok(begun) => self.evaluate(begun, template, timeout, request).await,
            Err(_) => Err(EvaluationError::ForkerDied),
        };
        ended.map_err(|error| {
            if !matches!(error, EvaluationError::Failed(_)) {
                self.templates.forget(app, code);
            }
            error.into()
        })
    }

    async fn in_zygote(&self, timeout: Duration, request: &[u8]) -> Result<Value, AttemptError> {
        let (zygote, begun) = self.begin(timeout).await.map_err(Error::Unavailable)?;
        let ended = self.evaluate(begun, &zygote.forker, timeout, request).await;
        if matches!(ended, Err(EvaluationError::Overdue)) {
            tracing::warn!("the python sandbox did not keep a deadline, starting another");
            self.discard(&zygote).await;
            zygote.kill();
        }
        ended.map_err(Into::into)
    }

    /// Sends the request to a started evaluation, and waits for its result.
    async fn evaluate(
        &self,
        mut begun: Begun,
        forker: &Forker,
        timeout: Duration,
        request: &[u8],
    ) -> Result<Value, EvaluationError> {
        let limit = self.config.max_output_bytes;
        let reply = async {
            // If the evaluation died early, it or its forker has sent the reason.
            let _ = begun.socket.write_all(request).await;
            forker::receive(&mut begun.socket, limit).await
        };
        let reply = time::timeout(timeout + GRACE, reply).await.map_err(|_| EvaluationError::Overdue)?;
        drop(begun);
        forker.replace_spare().await;
        match reply {
            Ok(reply) => match serde_json::from_slice(&reply) {
                Ok(Reply::Value(value)) => serde_json::from_str(value.get())
                    .map_err(|error| EvaluationError::Failed(Error::Output(error.to_string()))),
                Ok(Reply::Failure(failure)) => Err(EvaluationError::Failed(failure.into())),
                Err(error) => {
                    Err(EvaluationError::Failed(Error::Crashed(format!("the answer is not JSON: {error}"))))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(EvaluationError::Failed(Error::Crashed(error.to_string())))
            }
            Err(_) => Err(EvaluationError::ForkerDied),
        }
    }

    /// Starts an evaluation in the zygote.
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

    /// Returns the current zygote, or starts one. It may be dead: then no evaluation can be started in it.
    async fn zygote(&self) -> io::Result<Arc<Zygote>> {
        let mut zygote = self.zygote.lock().await;
        match &*zygote {
            Some(zygote) => Ok(zygote.clone()),
            None => Ok(zygote.insert(Arc::new(self.start().await?)).clone()),
        }
    }

    /// Drops this zygote, so that the next evaluation starts another; does nothing if it has been replaced already.
    async fn discard(&self, which: &Arc<Zygote>) {
        self.zygote.lock().await.take_if(|it| Arc::ptr_eq(it, which));
    }

    async fn start(&self) -> io::Result<Zygote> {
        if self.config.hide_server {
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        }
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        // The running executable, even if its file has been replaced.
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
        // The previous templates ended with the previous zygote.
        self.templates.clear();
        Ok(zygote)
    }
}

/// Why an evaluation gave no value.
enum EvaluationError {
    /// The process that forked it died.
    ForkerDied,
    /// It was not ended at its deadline.
    Overdue,
    Failed(Error),
}

impl From<EvaluationError> for AttemptError {
    fn from(error: EvaluationError) -> Self {
        match error {
            EvaluationError::ForkerDied => Self::ForkerDied,
            EvaluationError::Overdue => Self::Failed(Error::Timeout),
            EvaluationError::Failed(error) => Self::Failed(error),
        }
    }
}

impl Zygote {
    /// Kills the zygote and all that it forked, including templates and their evaluations.
    fn kill(&self) {
        let group = self.child.id().and_then(|it| rustix::process::Pid::from_raw(it.cast_signed()));
        if let Some(group) = group {
            // Fails if all of them are gone already.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.kill();
    }
}
