//! Where access keys are kept: in a data directory, or on a stack.

use crate::{
    cli::KeysPlace,
    plug::{self, Data},
};
use anyhow::Result;
use runyard_runs::{AccessKey, Clock, Credential, OrganizationId, Scope, SystemClock, Timestamp};

/// Access keys of one place.
pub(crate) enum Keyring {
    /// Of a data directory.
    Here(Data),
    /// Of a stack.
    #[cfg(feature = "aws")]
    Stack(runyard_aws::Aws),
}

impl Keyring {
    /// Those of the place that is said.
    #[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "a stack is looked for"))]
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

    /// Gives whether there is such a key.
    pub(crate) async fn revoke(&self, id: &str) -> Result<bool> {
        match self {
            Self::Here(data) => data.revoke_key(id).await,
            #[cfg(feature = "aws")]
            Self::Stack(aws) => Ok(aws.keys().revoke(id).await?),
        }
    }

    /// The organization that all apps of the place share.
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
