//! Authenticates callers, and checks that their key covers the app.

use crate::{Api, app, error::Error};
use axum::extract::FromRequestParts;
use http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts};
use runyard_runs::{AccessKey, Actor, App, Credential, Origin};
use std::sync::Arc;

/// An authorized caller of an app.
pub(crate) struct Caller {
    /// The app that is called.
    pub(crate) app: Arc<App>,
    /// The access key, if one was sent.
    key: Option<AccessKey>,
    /// The host that selected the app.
    host: String,
}

impl Caller {
    /// Returns the public part of the access key, if one was sent.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.id.as_str())
    }

    /// Returns the caller as the log records it; `user_id` is the caller's own user identifier.
    pub(crate) fn actor(&self, user_id: Option<String>) -> Actor {
        Actor { key: self.key().map(str::to_owned), user_id }
    }

    /// Returns the origin of a run that the caller creates.
    pub(crate) fn origin(&self) -> Origin {
        if self.key.is_some() { Origin::Key } else { Origin::Anonymous }
    }

    /// Returns the access to recheck while a long response is sent.
    pub(crate) fn access(&self) -> Access {
        Access { app: Arc::clone(&self.app), key: self.key.clone(), host: self.host.clone() }
    }
}

/// Extracts a caller with a valid key that covers the app.
pub(crate) struct WithKey(pub(crate) Caller);

/// As [`WithKey`]; if the app is public, also a caller that sends no key.
pub(crate) struct WithKeyOrPublic(pub(crate) Caller);

impl FromRequestParts<Api> for WithKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let (app, host) = app::of(api, parts).await?;
        match check(api, &app, &parts.headers).await? {
            Some(key) => Ok(Self(Caller { app, key: Some(key), host })),
            None if app.public => Err(Error::key_needed()),
            None => Err(Error::unauthorized(MISSING)),
        }
    }
}

impl FromRequestParts<Api> for WithKeyOrPublic {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let (app, host) = app::of(api, parts).await?;
        match check(api, &app, &parts.headers).await? {
            None if !app.public => Err(Error::unauthorized(MISSING)),
            key => Ok(Self(Caller { app, key, host })),
        }
    }
}

const MISSING: &str = "is missing: send `Bearer <access key>`";
const INVALID: &str = "the key is unknown, expired or revoked";

/// Returns the key; `None` without a header. An invalid header is refused even if no key is needed.
async fn check(api: &Api, app: &App, headers: &HeaderMap) -> Result<Option<AccessKey>, Error> {
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
    let key = key.ok_or_else(|| Error::unauthorized(INVALID))?;
    covers(&key, app)?;
    Ok(Some(key))
}

fn covers(key: &AccessKey, app: &App) -> Result<(), Error> {
    if key.scope.covers(app) {
        return Ok(());
    }
    Err(Error::of(
        StatusCode::FORBIDDEN,
        "Authorization",
        "the key does not cover this app: it belongs to another organization or project",
    ))
}

/// A caller's access during a long response. It may end before the response does.
pub(crate) struct Access {
    app: Arc<App>,
    key: Option<AccessKey>,
    host: String,
}

impl Access {
    /// Returns once the caller would be refused: the key was revoked, has expired or no longer covers the app, the app is
    /// no longer public, or its host no longer serves it. Checks every [`access_check`](crate::Config::access_check).
    pub(crate) async fn ended(&self, api: &Api) -> Error {
        loop {
            tokio::time::sleep(api.config.access_check).await;
            match self.check(api).await {
                // An unavailable store does not end access.
                Err(error) if !error.status().is_server_error() => return error,
                Ok(()) | Err(_) => {}
            }
        }
    }

    async fn check(&self, api: &Api) -> Result<(), Error> {
        let app = app::at(api, &self.host).await?;
        if app.id != self.app.id {
            return Err(Error::no_app());
        }
        let Some(key) = &self.key else {
            return if app.public { Ok(()) } else { Err(Error::unauthorized(MISSING)) };
        };
        let now = api.keys.find(&key.id).await?;
        let now = now.filter(|now| now.hash == key.hash && now.is_valid(api.clock.now()));
        covers(&now.ok_or_else(|| Error::unauthorized(INVALID))?, &app)
    }
}
