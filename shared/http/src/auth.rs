//! Whether the caller may.

use crate::{Api, app, error::Error};
use axum::extract::FromRequestParts;
use http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts};
use runyard_runs::{App, Credential};
use std::sync::Arc;

/// Who calls, and which app.
pub(crate) struct Caller {
    /// The app.
    pub(crate) app: Arc<App>,
    /// The public part of the access key, if one was given.
    pub(crate) key: Option<String>,
}

/// A caller with a good key that covers the app.
pub(crate) struct WithKey(pub(crate) Caller);

/// The same; or, where the app is public, anyone who sends no key at all.
pub(crate) struct WithKeyOrPublic(pub(crate) Caller);

impl FromRequestParts<Api> for WithKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let app = app::of(api, parts).await?;
        match check(api, &app, &parts.headers).await? {
            Some(key) => Ok(Self(Caller { app, key: Some(key) })),
            None => Err(Error::unauthorized("is missing: send `Bearer <access key>`")),
        }
    }
}

impl FromRequestParts<Api> for WithKeyOrPublic {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let app = app::of(api, parts).await?;
        match check(api, &app, &parts.headers).await? {
            None if !app.public => Err(Error::unauthorized("is missing: send `Bearer <access key>`")),
            key => Ok(Self(Caller { app, key })),
        }
    }
}

/// The public part of the key; `None` if there is no header. A bad header is refused, also where none is needed.
async fn check(api: &Api, app: &App, headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Error::unauthorized("is given more than once"));
    }
    let malformed = || Error::unauthorized("is malformed: send `Bearer <access key>`");
    let (scheme, credential) =
        header.to_str().ok().and_then(|header| header.trim().split_once(' ')).ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    let credential = Credential::parse(credential.trim_start()).ok_or_else(malformed)?;
    let key = api.keys.find(credential.id()).await?;
    let key = key.filter(|key| credential.opens(key, api.clock.now()));
    let key = key.ok_or_else(|| Error::unauthorized("the key is unknown, expired or revoked"))?;
    if !key.scope.covers(app) {
        return Err(Error::of(
            StatusCode::FORBIDDEN,
            "Authorization",
            "the key does not cover this app: it belongs to another organization or project",
        ));
    }
    Ok(Some(key.id))
}
