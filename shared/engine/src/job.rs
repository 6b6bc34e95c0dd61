//! Jobs: work on data that a library does in one go, such as reading a PDF. Nothing here could interrupt it, so it is
//! performed in a process of its own, which whoever plugs a [`JobRunner`] can kill.
//!
//! What is small, and cannot grow beyond bounds, is performed right here.

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

/// Performs jobs where they can be killed.
#[async_trait]
pub trait JobRunner: Send + Sync + 'static {
    /// Waits until the app may have a job performed. How many are at once is limited, and shared fairly between apps.
    async fn turn(&self, app: AppId) -> Result<Box<dyn JobTurn>, JobError>;
}

/// The right to have one job performed now.
#[async_trait]
pub trait JobTurn: Send {
    /// What [`perform`] gives for this job and input, in another process. Dropped, it kills that process.
    async fn run(self: Box<Self>, job: &str, input: Vec<u8>) -> Result<Vec<u8>, JobError>;
}

/// Why a job gave nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JobError {
    /// It took longer than it may.
    #[error("the data takes longer than the {seconds} s in which it must be processed")]
    TimedOut {
        /// How long it may take.
        seconds: f64,
    },
    /// It used more memory than it may.
    #[error("the data takes more than the {} MiB of memory in which it must be processed", .bytes >> 20)]
    Memory {
        /// How much it may use.
        bytes: u64,
    },
    /// More came of it than may.
    #[error("more than {} MiB come of the data", .bytes >> 20)]
    Output {
        /// How much may come of it.
        bytes: u64,
    },
    /// Its process died.
    #[error("the data cannot be read: {0}")]
    Crashed(String),
    /// There is nobody to perform it.
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

/// A kind of job: its settings. The data that it works on comes beside.
pub(crate) trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// Unique among jobs.
    const NAME: &'static str;

    /// The most bytes of settings and data together that are processed right here. What is done with so few must be bounded
    /// in time and memory by its very code, since nothing stops it.
    fn most_here(&self) -> usize {
        0
    }

    fn perform(self, data: Vec<u8>) -> Result<Value, NodeError>;
}

/// A job as the process that performs it finds it.
pub(crate) struct Known {
    name: &'static str,
    perform: fn(&[u8], Vec<u8>) -> Result<Value, NodeError>,
}

impl Known {
    pub(crate) const fn of<J: Job>() -> Self {
        Self {
            name: J::NAME,
            perform: |settings, data| match serde_json::from_slice::<J>(settings) {
                Ok(job) => checked(job.perform(data)?),
                Err(error) => Err(broken(&format!("its settings cannot be read: {error}"))),
            },
        }
    }
}

/// Performs a job that a [`JobTurn`] was given. For the start of a process that was started for it, and that has limits
/// on time and memory.
pub fn perform(job: &str, mut input: Vec<u8>) -> Vec<u8> {
    let known = nodes::JOBS.iter().flat_map(|group| *group).find(|known| known.name == job);
    let (Some(known), Some(length)) = (known, input.first_chunk::<4>().copied()) else {
        return written(Err(broken("it is not known")));
    };
    let end = (u32::from_le_bytes(length) as usize).saturating_add(4);
    if end > input.len() {
        return written(Err(broken("it lacks its settings")));
    }
    let data = input.split_off(end);
    written((known.perform)(&input[4..], data))
}

/// A job that may be performed now.
pub(crate) struct Ready<J> {
    job: J,
    /// None if that is done here.
    turn: Option<(Box<dyn JobTurn>, Vec<u8>)>,
}

impl<J: Job> Ready<J> {
    /// Waits for the app's turn, unless the job is so small that it is performed here. The data, of about `bytes`, is best
    /// read into memory only then.
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
                return Err(NodeError::new("OSError", "a file is larger than it was said to be"));
            }
            return nodes::blocking(move || checked(self.job.perform(data)?)).await;
        };
        input.extend_from_slice(&data);
        drop(data);
        let output = turn.run(J::NAME, input).await?;
        if output.len() < 64 * 1024 {
            return read(&output);
        }
        nodes::blocking(move || read(&output)).await
    }
}

/// What a job's process answers.
#[derive(Serialize, Deserialize)]
enum Reply {
    Done(Value),
    Failed { kind: String, message: String, retryable: bool },
}

/// More values than stand around an output in a [`Reply`].
const AROUND: usize = 8;

/// An output that is not too much.
fn checked(output: Value) -> Result<Value, NodeError> {
    OutputSize::default().add(&output)?;
    Ok(output)
}

fn written(result: Result<Value, NodeError>) -> Vec<u8> {
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
    written(Err(too_long()))
}

fn read(output: &[u8]) -> Result<Value, NodeError> {
    // It may come from a process that a file has taken over.
    if holds_more_values(output, MAX_OUTPUT_VALUES + AROUND) {
        return Err(broken("its answer holds too much"));
    }
    match serde_json::from_slice(output) {
        Ok(Reply::Done(output)) => Ok(output),
        Ok(Reply::Failed { kind, message, retryable }) => {
            Err(NodeError { retryable, ..NodeError::new(kind, message) })
        }
        Err(error) => Err(broken(&format!("its answer cannot be read: {error}"))),
    }
}

fn broken(problem: &str) -> NodeError {
    JobError::Broken(format!("the job does not work: {problem}")).into()
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
