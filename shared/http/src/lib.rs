//! The Runs API over HTTP: an axum router over [`RunService`].
//!
//! Promises:
//!
//! - It follows the contract exactly, and has one error format.
//! - A request that is malformed, hostile, truncated or too slow gets a 4xx, never a 500.
//! - An upload is written as it arrives; a refused one leaves no data.
//! - A client that disconnects does not affect its run.
//! - An event is sent only after it is stored.
//!
//! Depends on `runyard-runs` only, and on no socket: it runs under any server that passes requests to it. That server
//! limits the size of headers and the time for them.
//!
//! | module | purpose |
//! | --- | --- |
//! | `routes` | one file per route: its parameters, responses and errors |
//! | `wire` | runs, events and files as callers see them |
//! | `envelope`, `error`, `cors` | what all responses have in common |
//! | `app`, `auth` | selecting the app, authorizing the caller |
//! | `body`, `multipart`, `form`, `fields`, `query`, `upload` | reading requests, with limits on size, nesting and time |
//! | `idempotency` | `Idempotency-Key` |
//! | `quota` | the limit on what an app stores |
//! | `sse` | events as a stream |
//! | `unsent` | memory of responses that are not sent yet |
//! | `deadline` | requests that the platform ends after a time |
//! | `document` | the OpenAPI document |

mod app;
mod auth;
mod body;
mod config;
mod cors;
mod deadline;
mod document;
mod envelope;
mod error;
mod fields;
mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod idempotency;
mod multipart;
mod query;
mod quota;
mod routes;
mod sse;
mod unsent;
mod upload;
mod wire;

pub use config::Config;
pub use deadline::Deadline;
pub use document::openapi;

use axum::{Router, middleware};
use runyard_runs::{AppStore, Clock, FileStore, Ids, KeyStore, OpenStreams, RunService};
use std::{ops::Deref, sync::Arc};

/// What the API is made of.
#[derive(Clone)]
pub struct Http {
    /// The use cases.
    pub service: RunService,
    /// Finds apps by host.
    pub apps: Arc<dyn AppStore>,
    /// Finds access keys.
    pub keys: Arc<dyn KeyStore>,
    /// Stores uploads.
    pub files: Arc<dyn FileStore>,
    /// Counts open streams.
    pub streams: Arc<dyn OpenStreams>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Generates ids of files and requests.
    pub ids: Arc<dyn Ids>,
    /// Limits and times.
    pub config: Config,
}

/// Returns the router of the whole API.
pub fn router(state: Http) -> Router {
    let api = Api(Arc::new(state));
    routes::all().layer(middleware::from_fn_with_state(api.clone(), envelope::wrap)).with_state(api)
}

/// The state that the routes share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Http>);

impl Deref for Api {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.0
    }
}
