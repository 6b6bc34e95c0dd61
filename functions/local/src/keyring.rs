//! Access keys in a data directory or on a stack.

use crate::{
    cli::KeysPlace,
    plug::{self, Data},
};
use anyhow::Result;
use runyard_runs::{AccessKey, Clock, Credential, OrganizationId, Scope, SystemClock, Timestamp};

/// A store of access keys.
pub(crate) enum Keyring {
    /// In a data directory.
    Here(Data),
    /// On a stack.
    #[cfg(feature = "aws")]
    Stack(runyard_aws::Aws),
}

impl Keyring {
    /// Opens the keys of `place`.
    #[cfg_attr(
        not(feature = "aws"),
        expect(clippy::unused_async, reason = "only a stack is opened asynchronously")
    )]
    pub(crate) async fn open(place: &KeysPlace) -> Result<Self> {
        #[cfg(feature = "aws")]
        if place.stack.is_given() {
            return Ok(Self::Stack(place.stack.open().await?));
        }
        Ok(Self::Here(Data::open(&place.here.data)?))
    }

    pub(crate) fn now() -> Timestamp {
        SystemClock.now()
    }

    pub(crate) async fn create(
        &self,
        scope: Scope,
        expires_at: Option<Timestamp>,
    ) -> Result<(Credential, AccessKey)> {
        match self {
            Self::Here(data) => data.create_key(scope, expires_at).await,
            #[cfg(feature = "aws")]
            Self::Stack(aws) => Ok(aws.keys().create(scope, expires_at).await?),
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<AccessKey>> {
        match self {
            Self::Here(data) => data.list_keys().await,
            #[cfg(feature = "aws")]
            Self::Stack(aws) => Ok(aws.keys().list().await?),
        }
    }

    /// Returns whether the key exists.
    pub(crate) async fn revoke(&self, id: &str) -> Result<bool> {
        match self {
            Self::Here(data) => data.revoke_key(id).await,
            #[cfg(feature = "aws")]
            Self::Stack(aws) => Ok(aws.keys().revoke(id).await?),
        }
    }

    /// Returns the organization that all apps of the place share; a usage error if there is not exactly one.
    pub(crate) async fn shared_organization(&self, place: &KeysPlace) -> Result<OrganizationId> {
        #[cfg(feature = "aws")]
        if let Self::Stack(aws) = self {
            use runyard_runs::AppStore;
            let apps = aws.apps().list().await?;
            return plug::only_organization(apps.iter().map(AsRef::as_ref), &place.shown());
        }
        plug::shared_organization(&place.here).await
    }
}
