//! The ports of `runyard-runs` on DynamoDB, S3 and SQS, for one stack in one AWS region.
//!
//! Promises: what a write acknowledged is stored by AWS in several zones; one table, one bucket and one queue serve any
//! number of processes; what is read of one run sees every write that was acknowledged before; throttles and time-outs
//! are retried with jitter until a deadline, and told as [`StoreError::Unknown`](runyard_runs::StoreError) after it.
//!
//! Knows `runyard-runs` only: nothing of HTTP, of how a workflow runs, or of Lambda. No type of the AWS SDK stands in a
//! public signature but where the clients are handed over ([`Clients`]). It starts no task.
//!
//! | module | what |
//! | --- | --- |
//! | `config` | [`Config`] from the environment |
//! | `clients` | the SDK's clients: time-outs, retries, TLS |
//! | `error` | what an AWS error means to a port |
//! | `runs` | [`Runs`]: runs and their logs, in the table |
//! | `files` | [`Files`]: files in the bucket, what is known of them in the table; presigned uploads |
//! | `queue` | [`Queue`]: the queue |
//! | `apps` | [`Apps`], [`Deployments`]: deployed apps, and deploying them |
//! | `keys` | [`Keys`]: access keys |
//! | `secrets` | [`Secrets`]: what apps' environment variables name in Secrets Manager and SSM |
//! | `streams` | [`Streams`]: how many streams are open, in the table |
//! | `usage` | [`Usage`]: how much apps have stored, in the table |
//! | `stack` | `Stack`: what a CloudFormation stack is made of; with the feature `operator` |
//! | `bodies` | what is too large for the table, in the bucket |
//! | [`table`] | the table: its keys, its indexes, what expires |

mod apps;
mod aws;
pub mod bodies;
mod cache;
mod clients;
mod config;
mod error;
mod files;
mod item;
mod keys;
mod memories;
mod queue;
mod runs;
mod secrets;
#[cfg(feature = "operator")]
mod stack;
mod streams;
pub mod table;
mod usage;

pub use apps::{Apps, Current, DeployError, Deployed, Deployments, Version};
pub use aws::Aws;
pub use clients::Clients;
pub use config::{Config, ConfigError, Emulator};
pub use files::{Files, PresignedPost, PresignedPut};
pub use keys::Keys;
pub use memories::Memories;
pub use queue::Queue;
pub use runs::Runs;
pub use secrets::{AppsWithSecrets, Secret, Secrets};
#[cfg(feature = "operator")]
pub use stack::{Stack, StackError};
pub use streams::Streams;
pub use usage::Usage;
