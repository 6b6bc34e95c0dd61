//! Jobs: work on untrusted data that cannot be interrupted, in processes that can be killed.
//!
//! ```text
//! server ── one socket per job ──> job   one process per job
//! ```
//!
//! A job is a new process of the server's own executable ([`enter_job_if_asked`] is the first statement of its `main`),
//! with an empty environment and one socket. It takes the limits and the system call filter of an evaluation, and only
//! then reads its job and input. It is killed when its caller is gone, at its deadline, and when the server dies.

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

/// How much later than the server's deadline the kernel's limit on processor time ends a job.
const GRACE: Duration = Duration::from_secs(1);

/// Limits of jobs, and the program to start.
#[derive(Debug, Clone)]
pub struct JobConfig {
    /// Number of concurrent jobs, at most half of them for one app; further ones wait for a permit.
    pub max_processes: usize,
    /// Bytes of memory that one job may use beyond what the program itself takes, its input included.
    pub memory_bytes: u64,
    /// How long one may take, from its start.
    pub timeout: Duration,
    /// Bytes that a job may return.
    pub max_output_bytes: usize,
    /// A program whose `main` begins with [`enter_job_if_asked`]. `None`: the running program, whose `main` must then
    /// begin with it.
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

/// Why a job returned no output.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It was killed at its deadline.
    #[error("the job took longer than {} s", .limit.as_secs_f64())]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
    /// It exceeded its memory limit or overflowed its stack.
    #[error("the job used more than {limit} bytes of memory")]
    Memory {
        /// Bytes that it may use.
        limit: u64,
    },
    /// Its output is too large.
    #[error("the job returned more than {limit} bytes")]
    Output {
        /// Bytes that it may return.
        limit: usize,
    },
    /// It panicked, or its process died in another way.
    #[error("the job's process died: {0}")]
    Crashed(String),
    /// Its process did not start.
    #[error("the job's process cannot be started")]
    Unavailable(#[source] io::Error),
}

/// Performs jobs; cheap to clone. Starts no process before the first job.
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

/// A permit for one job. Read a job's input into memory only after acquiring it.
#[derive(Debug)]
pub struct JobTurn {
    inner: Arc<Inner>,
    _turn: Turn,
}

impl Jobs {
    /// Creates jobs with the limits of `config`.
    pub fn new(config: JobConfig) -> Self {
        let turns = Turns::new(config.max_processes);
        let inner = Inner { config, turns, starter: Starter::default(), has_warned: AtomicBool::new(false) };
        Self { inner: Arc::new(inner) }
    }

    /// Waits for a permit for `app`; permits are shared fairly between apps, see [`Turns`].
    pub async fn turn(&self, app: u128) -> JobTurn {
        JobTurn { inner: Arc::clone(&self.inner), _turn: self.inner.turns.acquire(app).await }
    }
}

impl JobTurn {
    /// Returns the output of the program's [`Perform`] for this job and input. Dropping the future kills the process.
    ///
    /// # Errors
    ///
    /// See [`JobError`].
    pub async fn run(self, job: &str, input: &[u8]) -> Result<Vec<u8>, JobError> {
        let config = &self.inner.config;
        let (mut process, socket) =
            self.inner.starter.start(config.program.clone()).await.map_err(JobError::Unavailable)?;
        let reply = time::timeout(config.timeout, self.inner.talk(socket, &mut process, job, input)).await;
        // It may still run, but its output is no longer needed.
        let _ = process.start_kill();
        reply.unwrap_or(Err(JobError::Timeout { limit: config.timeout }))
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
        let reply = async {
            // If the job died early, its reply or its exit status tells why.
            let _ = socket.write_all(&head.to_bytes()).await;
            let _ = socket.write_all(job.as_bytes()).await;
            let _ = socket.write_all(input).await;
            let (kind, length) = (socket.read_u8().await?, socket.read_u64_le().await?);
            // The job may be compromised, so its reply is not trusted.
            let length = usize::try_from(length).ok().filter(|length| *length <= config.max_output_bytes);
            let length = length.ok_or(io::ErrorKind::InvalidData)?;
            let mut output = Vec::new();
            let read = (&mut socket).take(length as u64).read_to_end(&mut output).await?;
            if read == length { Ok((kind, output)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        };
        let reply: io::Result<(u8, Vec<u8>)> = reply.await;
        let Ok((kind, output)) = reply else { return Err(self.exit_error(process.wait().await)) };
        if kind & UNFILTERED != 0 && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("the kernel refuses a system call filter: jobs run on resource limits alone");
        }
        match kind & !UNFILTERED {
            DONE => Ok(output),
            TOO_LARGE => Err(JobError::Output { limit: config.max_output_bytes }),
            _ => Err(JobError::Crashed("panic".to_owned())),
        }
    }

    /// The error for a process that ended without a reply.
    fn exit_error(&self, status: io::Result<std::process::ExitStatus>) -> JobError {
        use std::os::unix::process::ExitStatusExt as _;

        let status = match status {
            Ok(status) => status,
            Err(error) => return JobError::Unavailable(error),
        };
        match status.signal() {
            Some(libc::SIGXCPU) => JobError::Timeout { limit: self.config.timeout },
            // A panic unwinds, so only a failed allocation aborts. A stack overflow counts as memory too.
            Some(libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS) => {
                JobError::Memory { limit: self.config.memory_bytes }
            }
            Some(libc::SIGKILL) => {
                JobError::Crashed("killed by SIGKILL: the machine may be out of memory".to_owned())
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
const TOO_LARGE: u8 = 1;
const PANICKED: u8 = 2;
/// A flag on the others: the kernel refused the filter.
const UNFILTERED: u8 = 0x80;

/// The first message to a job. The raw bytes of its name and input follow.
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
        for (chunk, number) in bytes[8..].chunks_exact_mut(8).zip(rest) {
            chunk.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let u32_at = |offset: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[offset + i]));
        let u64_at = |offset: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[offset + i]));
        Self {
            server: u32_at(0),
            cpu_seconds: u32_at(4),
            memory_bytes: u64_at(8),
            max_output_bytes: u64_at(16),
            job_bytes: u64_at(24),
            input_bytes: u64_at(32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_round_trips() {
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
