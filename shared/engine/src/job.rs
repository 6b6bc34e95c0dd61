//! Jobs: work on data that a library does in one uninterruptible call, such as reading a PDF. A job runs in a separate
//! process, which a [`JobRunner`] can kill.
//!
//! A small job whose code bounds its time and memory runs in this process.

use crate::{
    flow::{Call, NodeError},
    measure::{OutputSize, too_long},
    nodes,
};
use async_trait::async_trait;
use runyard_runs::{AppId, MAX_OUTPUT_BYTES, MAX_OUTPUT_VALUES, holds_more_values};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::io;

/// Runs jobs in processes that can be killed.
#[async_trait]
pub trait JobRunner: Send + Sync + 'static {
    /// Waits until the app may run a job. The number of concurrent jobs is limited, and shared fairly between apps.
    async fn turn(&self, app: AppId) -> Result<Box<dyn JobTurn>, JobError>;
}

/// The permit to run one job now.
#[async_trait]
pub trait JobTurn: Send {
    /// Returns what [`perform`] returns for this job and input, in another process. Dropping the future kills that
    /// process.
    async fn run(self: Box<Self>, job: &str, input: Vec<u8>) -> Result<Vec<u8>, JobError>;
}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JobError {
    /// It exceeded its time limit.
    #[error("processing the data takes longer than the limit of {seconds} s")]
    TimedOut {
        /// The time limit, in seconds.
        seconds: f64,
    },
    /// It exceeded its memory limit.
    #[error("processing the data takes more memory than the limit of {} MiB", .bytes >> 20)]
    Memory {
        /// The memory limit, in bytes.
        bytes: u64,
    },
    /// Its output exceeds the limit.
    #[error("the result of processing the data is larger than {} MiB", .bytes >> 20)]
    Output {
        /// The limit on the output, in bytes.
        bytes: u64,
    },
    /// Its process died.
    #[error("the data cannot be read: {0}")]
    Crashed(String),
    /// It cannot be run.
    #[error("the data cannot be processed: {0}")]
    Broken(String),
}

impl From<JobError> for NodeError {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::TimedOut { .. } | JobError::Memory { .. } | JobError::Output { .. } => {
                Self::limit_exceeded(message)
            }
            JobError::Crashed(_) => Self::new("RuntimeError", message).lasting(),
            JobError::Broken(_) => Self::new("RuntimeError", message),
        }
    }
}

/// The settings of a kind of job. The data that it works on is passed separately.
pub(crate) trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The name, unique among jobs.
    const NAME: &'static str;

    /// The limit on settings and data together, in bytes, up to which the job runs in this process. Its code must bound
    /// the time and memory that it takes for so little data, because nothing can stop it.
    fn most_here(&self) -> usize {
        0
    }

    fn perform(self, data: Vec<u8>) -> Result<Value, NodeError>;
}

/// A job that a job process can look up by its name.
pub(crate) struct RegisteredJob {
    name: &'static str,
    perform: fn(&[u8], Vec<u8>) -> Result<Value, NodeError>,
}

impl RegisteredJob {
    pub(crate) const fn of<J: Job>() -> Self {
        Self {
            name: J::NAME,
            perform: |settings, data| match serde_json::from_slice::<J>(settings) {
                Ok(job) => check_output(job.perform(data)?),
                Err(error) => Err(broken(&format!("its settings cannot be read: {error}"))),
            },
        }
    }
}

/// Performs a job that was passed to a [`JobTurn`]. A process that was started for the job, with limits on time and
/// memory, calls it first.
pub fn perform(job: &str, mut input: Vec<u8>) -> Vec<u8> {
    let known = nodes::JOBS.iter().flat_map(|group| *group).find(|known| known.name == job);
    let (Some(known), Some(length)) = (known, input.first_chunk::<4>().copied()) else {
        return encode_reply(Err(broken("its name is not known")));
    };
    let end = (u32::from_le_bytes(length) as usize).saturating_add(4);
    if end > input.len() {
        return encode_reply(Err(broken("its settings are incomplete")));
    }
    let data = input.split_off(end);
    encode_reply((known.perform)(&input[4..], data))
}

/// A job that may run now.
pub(crate) struct Ready<J> {
    job: J,
    /// The permit and the encoded settings. `None` if the job runs in this process.
    turn: Option<(Box<dyn JobTurn>, Vec<u8>)>,
}

impl<J: Job> Ready<J> {
    /// Waits for the app's turn, unless the job is small enough for this process. To save memory, read the data, of
    /// about `bytes`, only after that.
    pub(crate) async fn wait(call: Call<'_>, job: J, bytes: usize) -> Result<Self, NodeError> {
        let mut settings = vec![0; 4];
        serde_json::to_writer(&mut settings, &job).map_err(|error| broken(&error.to_string()))?;
        let length = u32::try_from(settings.len() - 4).map_err(|_| broken("its settings are too long"))?;
        settings[..4].copy_from_slice(&length.to_le_bytes());
        if settings.len().saturating_add(bytes) <= job.most_here() {
            return Ok(Self { job, turn: None });
        }
        let turn = call.services.jobs.turn(call.run.new_run().app).await?;
        Ok(Self { job, turn: Some((turn, settings)) })
    }

    pub(crate) async fn perform(self, data: Vec<u8>) -> Result<Value, NodeError> {
        let Some((turn, mut input)) = self.turn else {
            if data.len() > self.job.most_here() {
                return Err(NodeError::new("OSError", "a file is larger than its declared size"));
            }
            return nodes::blocking(move || check_output(self.job.perform(data)?)).await;
        };
        input.extend_from_slice(&data);
        drop(data);
        let output = turn.run(J::NAME, input).await?;
        if output.len() < 64 * 1024 {
            return decode_reply(&output);
        }
        nodes::blocking(move || decode_reply(&output)).await
    }
}

/// The reply of a job's process.
#[derive(Serialize, Deserialize)]
enum Reply {
    Done(Value),
    Failed { kind: String, message: String, retryable: bool },
}

/// An upper bound on the values that a [`Reply`] adds to its output.
const ENVELOPE_VALUES: usize = 8;

/// Returns the output, unless it exceeds the limits.
fn check_output(output: Value) -> Result<Value, NodeError> {
    OutputSize::default().add(&output)?;
    Ok(output)
}

fn encode_reply(result: Result<Value, NodeError>) -> Vec<u8> {
    let reply = match result {
        Ok(output) => Reply::Done(output),
        Err(error) => {
            Reply::Failed { kind: error.kind.to_string(), message: error.message, retryable: error.retryable }
        }
    };
    let mut text = Bounded(Vec::new());
    if serde_json::to_writer(&mut text, &reply).is_ok() {
        return text.0;
    }
    drop((reply, text));
    encode_reply(Err(too_long()))
}

fn decode_reply(output: &[u8]) -> Result<Value, NodeError> {
    // A hostile file may control the process that wrote this.
    if holds_more_values(output, MAX_OUTPUT_VALUES + ENVELOPE_VALUES) {
        return Err(broken("its reply holds too many values"));
    }
    match serde_json::from_slice(output) {
        Ok(Reply::Done(output)) => Ok(output),
        Ok(Reply::Failed { kind, message, retryable }) => {
            Err(NodeError { retryable, ..NodeError::new(kind, message) })
        }
        Err(error) => Err(broken(&format!("its reply cannot be read: {error}"))),
    }
}

fn broken(problem: &str) -> NodeError {
    JobError::Broken(format!("the job failed: {problem}")).into()
}

/// Text that may not grow beyond [`MAX_OUTPUT_BYTES`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
