//! The Runs API over HTTP: an axum router over [`RunService`].
//!
//! Promises: the contract, to the letter, in one error format; a request that is malformed, hostile, truncated or too
//! slow gets a 4xx, never a 500; an upload is written as it arrives, and a refused one leaves nothing; a client that
//! goes away changes nothing about its run; an event is sent once it is on disk.
//!
//! Knows `runyard-runs` only. Knows no socket and no peer: it runs under any server that gives it requests, so the size
//! of headers and the time for them are that server's business.
//!
//! | module | what |
//! | --- | --- |
//! | `routes` | one file a route: what it takes, what it answers, how its errors map |
//! | `wire` | runs, events and files as callers see them |
//! | `envelope`, `error`, `cors` | what every response carries |
//! | `app`, `auth` | which app, and whether the caller may |
//! | `body`, `multipart`, `fields`, `query`, `upload` | reading requests, bounded in size, depth and time |
//! | `quota` | how much apps may store |
//! | `sse` | events as a stream |
//! | `unsent` | answers that their clients may not read |
//! | `deadline` | requests that a platform ends after a time |
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

/// All that the API is plugged together from.
#[derive(Clone)]
pub struct Http {
    /// The use cases.
    pub service: RunService,
    /// Finds apps by host.
    pub apps: Arc<dyn AppStore>,
    /// Finds access keys.
    pub keys: Arc<dyn KeyStore>,
    /// Keeps uploads.
    pub files: Arc<dyn FileStore>,
    /// Counts open streams.
    pub streams: Arc<dyn OpenStreams>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids of files and requests.
    pub ids: Arc<dyn Ids>,
    /// Limits and times.
    pub config: Config,
}

/// The whole API.
pub fn router(state: Http) -> Router {
    let api = Api(Arc::new(state));
    routes::all().layer(middleware::from_fn_with_state(api.clone(), envelope::wrap)).with_state(api)
}

/// What the routes share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Http>);

impl Deref for Api {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.0
    }
}
