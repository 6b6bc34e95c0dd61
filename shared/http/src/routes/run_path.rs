//! Extracts `{run_id}` from the path.

use crate::{Api, error::Error};
use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use runyard_runs::RunId;

/// The run in the path. 404 if it is not a UUID.
pub(crate) struct RunPath(pub(crate) RunId);

impl FromRequestParts<Api> for RunPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let parameters = RawPathParams::from_request_parts(parts, api).await.map_err(|_| Error::no_run())?;
        let (_, run) = parameters.iter().find(|(name, _)| *name == "run_id").ok_or_else(Error::no_run)?;
        run.parse().map(Self).map_err(|_| Error::no_run())
    }
}
