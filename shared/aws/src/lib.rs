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
//! | `bodies` | what is too large for the table, in the bucket |
//! | [`table`] | the table: its keys, its indexes, what expires |

mod aws;
pub mod bodies;
mod clients;
mod config;
mod error;
mod runs;
pub mod table;

pub use aws::Aws;
pub use clients::Clients;
pub use config::{Config, ConfigError, Emulator};
pub use runs::Runs;
