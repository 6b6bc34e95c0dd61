//! Identifiers: UUIDs, one type for each kind of thing, and the port that makes them.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

id! {
    /// A run. Version 7: later runs sort after earlier ones, which keeps index pages together.
    RunId
}
id! {
    /// A deployed app.
    AppId
}
id! {
    /// The project that an app belongs to.
    ProjectId
}
id! {
    /// The organization that a project belongs to.
    OrganizationId
}
id! {
    /// A stored file.
    FileId
}
id! {
    /// One attempt of one worker to execute one run: the owner of a lease, the writer of an entry.
    ClaimId
}
id! {
    /// A question that a run asked of a person.
    RequestId
}

impl RunId {
    /// When the run was created, to the millisecond; unknown for an id that did not come from [`Ids::ordered`].
    pub fn created_at(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Some(Timestamp(i64::try_from(seconds).ok()? * 1000 + i64::from(nanos / 1_000_000)))
    }
}

/// The source of ids. A port, so that tests are deterministic.
pub trait Ids: Send + Sync + 'static {
    /// A new id that sorts by time of creation.
    fn ordered(&self) -> Uuid;

    /// A new id from random bits alone.
    fn random(&self) -> Uuid;

    /// 256 random bits, for secrets.
    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(self.random().as_bytes());
        bytes[16..].copy_from_slice(self.random().as_bytes());
        bytes
    }
}

/// [`Ids`] from the operating system's random numbers and clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "this is the id source")]
    fn ordered(&self) -> Uuid {
        Uuid::now_v7()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the id source")]
    fn random(&self) -> Uuid {
        Uuid::new_v4()
    }

    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        bytes
    }
}
