//! The ports of `runyard-runs` on DynamoDB, S3 and SQS, for one stack in one AWS region.
//!
//! Promises: an acknowledged write is stored by AWS in several zones; one table, one bucket and one queue serve any
//! number of processes; a read of a run sees every write to it that was acknowledged before; throttles and timeouts
//! are retried with jitter until a deadline, and returned as [`StoreError::Unknown`](runyard_runs::StoreError) after it.
//!
//! Knows `runyard-runs` only: not HTTP, the execution of workflows, or Lambda. No public signature contains a type of
//! the AWS SDK, except where the clients are passed in ([`Clients`]). It starts no background task.
//!
//! | module | content |
//! | --- | --- |
//! | `config` | [`Config`] from the environment |
//! | `clients` | the SDK's clients: timeouts, retries, TLS |
//! | `error` | what an AWS error means to a port |
//! | `runs` | [`Runs`]: runs and their logs, in the table |
//! | `files` | [`Files`]: files in the bucket, their attributes in the table; presigned uploads |
//! | `queue` | [`Queue`]: the queue |
//! | `apps` | [`Apps`], [`Deployments`]: deployed apps, and deploying them |
//! | `keys` | [`Keys`]: access keys |
//! | `secrets` | [`Secrets`]: the secrets in Secrets Manager and SSM that apps' environment variables refer to |
//! | `streams` | [`Streams`]: the number of open streams, in the table |
//! | `usage` | [`Usage`]: the bytes that apps have stored, in the table |
//! | `stack` | `Stack`: finds the table and bucket of a CloudFormation stack; with the feature `operator` |
//! | `bodies` | content that is too large for the table, in the bucket |
//! | [`table`] | the table: its keys, indexes and expiry |

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
