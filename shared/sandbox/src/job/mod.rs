//! Jobs: work on untrusted data that nothing could interrupt, in processes that can be killed.
//!
//! ```text
//! server ── a socket for each job ──> job   one process for each
//! ```
//!
//! A job is the server's own executable started anew ([`enter_job_if_asked`] stands at the start of its `main`), with an
//! empty environment and one socket. It takes the limits and the system call filter of an evaluation, and only then
//! reads what it is to do. It is killed when nobody waits for it, at its deadline, and when the server dies.

mod child;
mod process;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Child,
    time,
};

use crate::turns::{Turn, Turns};
pub use child::{Perform, enter_job_if_asked};
use process::Starter;

/// The hidden first argument that makes a program a job.
const ARGUMENT: &str = "__job";

/// The kernel's limit on processor time ends a job that the server's clock did not; it is this much later.
const GRACE: Duration = Duration::from_secs(1);

/// Limits of jobs, and what to start.
#[derive(Debug, Clone)]
pub struct JobConfig {
    /// Jobs at once, of which no owner gets more than half; more wait for their turn.
    pub max_processes: usize,
    /// What one job may use beyond what the program itself takes, its input included.
    pub memory_bytes: u64,
    /// How long one may take, from its start.
    pub timeout: Duration,
    /// How much may come of it.
    pub max_output_bytes: usize,
    /// A program whose `main` begins with [`enter_job_if_asked`]. `None` stands for the running program, whose `main` then
    /// does.
    pub program: Option<PathBuf>,
}

impl Default for JobConfig {
    fn default() -> Self {
        Self {
            max_processes: 4,
            memory_bytes: 512 * 1024 * 1024,
            timeout: Duration::from_mins(1),
            max_output_bytes: 32 * 1024 * 1024,
            program: None,
        }
    }
}

/// Why a job gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It ran into its deadline and was killed.
    #[error("the job took longer than {} s", .limit.as_secs_f64())]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
    /// It wanted more memory, or a deeper stack, than it may have.
    #[error("the job used more than {limit} bytes of memory")]
    Memory {
        /// How much it may use.
        limit: u64,
    },
    /// More came of it than may.
    #[error("the job gave more than {limit} bytes")]
    Output {
        /// How much may come of it.
        limit: usize,
    },
    /// It panicked, or its process died in another way.
    #[error("the job's process died: {0}")]
    Crashed(String),
    /// There is no process to perform it.
    #[error("the job's process cannot be started")]
    Unavailable(#[source] io::Error),
}

/// Performs jobs; cheap to clone. Starts nothing before the first.
#[derive(Debug, Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: JobConfig,
    turns: Turns,
    starter: Starter,
    has_warned: AtomicBool,
}

/// The right to perform one job now. What a job needs is best read into memory only then.
#[derive(Debug)]
pub struct JobTurn {
    inner: Arc<Inner>,
    _turn: Turn,
}

impl Jobs {
    /// Jobs with limits of their own.
    pub fn new(config: JobConfig) -> Self {
        let turns = Turns::new(config.max_processes);
        let inner = Inner { config, turns, starter: Starter::default(), has_warned: AtomicBool::new(false) };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until `owner` may perform a job; turns are shared fairly between owners, see [`Turns`].
    pub async fn turn(&self, owner: u128) -> JobTurn {
        JobTurn { inner: Arc::clone(&self.inner), _turn: self.inner.turns.acquire(owner).await }
    }
}

impl JobTurn {
    /// What the program's [`Perform`] gives for this job and input. Dropping the future kills the process.
    ///
    /// # Errors
    ///
    /// See [`JobError`].
    pub async fn run(self, job: &str, input: &[u8]) -> Result<Vec<u8>, JobError> {
        let config = &self.inner.config;
        let (mut process, socket) =
            self.inner.starter.start(config.program.clone()).await.map_err(JobError::Unavailable)?;
        let told = time::timeout(config.timeout, self.inner.talk(socket, &mut process, job, input)).await;
        // Whatever it does still, it is not waited for.
        let _ = process.start_kill();
        told.unwrap_or(Err(JobError::Timeout { limit: config.timeout }))
    }
}

impl Inner {
    async fn talk(
        &self,
        mut socket: UnixStream,
        process: &mut Child,
        job: &str,
        input: &[u8],
    ) -> Result<Vec<u8>, JobError> {
        let config = &self.config;
        let cpu_seconds = config.timeout.saturating_add(GRACE).as_secs();
        let head = Head {
            server: std::process::id(),
            cpu_seconds: u32::try_from(cpu_seconds).unwrap_or(u32::MAX),
            memory_bytes: config.memory_bytes,
            max_output_bytes: config.max_output_bytes as u64,
            job_bytes: job.len() as u64,
            input_bytes: input.len() as u64,
        };
        let told = async {
            // One that died early has said why, or its end tells.
            let _ = socket.write_all(&head.to_bytes()).await;
            let _ = socket.write_all(job.as_bytes()).await;
            let _ = socket.write_all(input).await;
            let (kind, length) = (socket.read_u8().await?, socket.read_u64_le().await?);
            // What runs there may be anything by now.
            let length = usize::try_from(length).ok().filter(|length| *length <= config.max_output_bytes);
            let length = length.ok_or(io::ErrorKind::InvalidData)?;
            let mut output = Vec::new();
            let read = (&mut socket).take(length as u64).read_to_end(&mut output).await?;
            if read == length { Ok((kind, output)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        };
        let told: io::Result<(u8, Vec<u8>)> = told.await;
        let Ok((kind, output)) = told else { return Err(self.why(process.wait().await)) };
        if kind & UNFILTERED != 0 && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("the kernel refuses a system call filter: jobs run on resource limits alone");
        }
        match kind & !UNFILTERED {
            DONE => Ok(output),
            TOO_MUCH => Err(JobError::Output { limit: config.max_output_bytes }),
            _ => Err(JobError::Crashed("it panicked".to_owned())),
        }
    }

    /// Why a process ended before it said anything.
    fn why(&self, status: io::Result<std::process::ExitStatus>) -> JobError {
        use std::os::unix::process::ExitStatusExt as _;

        let status = match status {
            Ok(status) => status,
            Err(error) => return JobError::Unavailable(error),
        };
        match status.signal() {
            Some(libc::SIGXCPU) => JobError::Timeout { limit: self.config.timeout },
            // A panic unwinds, so what aborts is an allocation that failed; and the stack is memory too.
            Some(libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS) => {
                JobError::Memory { limit: self.config.memory_bytes }
            }
            Some(libc::SIGKILL) => {
                JobError::Crashed("it was killed, maybe because the machine is out of memory".to_owned())
            }
            Some(signal) => JobError::Crashed(format!("signal {signal}")),
            None if status.success() => {
                let why = "the program does not begin with `enter_job_if_asked`";
                JobError::Unavailable(io::Error::other(why))
            }
            None => JobError::Crashed(status.to_string()),
        }
    }
}

const DONE: u8 = 0;
const TOO_MUCH: u8 = 1;
const PANICKED: u8 = 2;
/// Added to the others: the kernel refused the filter.
const UNFILTERED: u8 = 0x80;

/// What a job is told first. Job and input follow, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// The process that started it.
    server: u32,
    cpu_seconds: u32,
    memory_bytes: u64,
    max_output_bytes: u64,
    job_bytes: u64,
    input_bytes: u64,
}

impl Head {
    const LENGTH: usize = 40;

    fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&self.server.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.cpu_seconds.to_le_bytes());
        let rest = [self.memory_bytes, self.max_output_bytes, self.job_bytes, self.input_bytes];
        for (place, number) in bytes[8..].chunks_exact_mut(8).zip(rest) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|place| bytes[at + place]));
        let whole = |at: usize| u64::from_le_bytes(std::array::from_fn(|place| bytes[at + place]));
        Self {
            server: half(0),
            cpu_seconds: half(4),
            memory_bytes: whole(8),
            max_output_bytes: whole(16),
            job_bytes: whole(24),
            input_bytes: whole(32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head {
            server: 1,
            cpu_seconds: 2,
            memory_bytes: 3,
            max_output_bytes: 1 << 40,
            job_bytes: 5,
            input_bytes: u64::MAX,
        };
        assert_eq!(Head::from_bytes(head.to_bytes()), head);
    }
}
