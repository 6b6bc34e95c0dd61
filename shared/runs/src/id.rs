//! Identifiers: UUIDs, one type for each kind of thing, and the port that makes them.

use crate::{Clock, SystemClock, Timestamp};
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
    /// A run. Version 7: runs of a later millisecond sort after earlier ones, which keeps index pages together.
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
    /// A question that a run asks a person.
    RequestId
}

impl RunId {
    /// When the run was created, in milliseconds; `None` for an id that was not made by [`Ids::ordered`].
    pub fn created_at(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Some(Timestamp(i64::try_from(seconds).ok()? * 1000 + i64::from(nanos / 1_000_000)))
    }
}

/// The source of ids. A port, so that tests are deterministic.
pub trait Ids: Send + Sync + 'static {
    /// Returns a new id that sorts by the millisecond of its creation, and cannot be guessed from other ids.
    fn ordered(&self) -> Uuid;

    /// Returns a new random id.
    fn random(&self) -> Uuid;

    /// Returns 256 random bits, for secrets.
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
    /// A version 7 UUID with 74 fresh random bits, even for ids of the same millisecond: on a public app, a run's id is
    /// a secret that lets anyone follow the run, so ids must not be predictable from one another, as with a counter.
    fn ordered(&self) -> Uuid {
        let millis = u64::try_from(SystemClock.now().0).unwrap_or_default();
        let mut random = [0; 10];
        getrandom::fill(&mut random).expect("the operating system has random bytes");
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the id source")]
    fn random(&self) -> Uuid {
        Uuid::new_v4()
    }

    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has random bytes");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Ids, RunId, SystemIds};
    use crate::{Clock, SystemClock};
    use std::collections::HashSet;

    /// The random bits of a version 7 UUID.
    fn random_bits(id: uuid::Uuid) -> u128 {
        let bits = id.as_u128();
        ((bits >> 64) & 0xfff) << 62 | bits & ((1 << 62) - 1)
    }

    #[test]
    fn ids_of_the_same_millisecond_share_only_their_time() {
        let before = SystemClock.now();
        let ids: Vec<_> = (0..4096).map(|_| SystemIds.ordered()).collect();
        let after = SystemClock.now();
        for id in &ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            let created = RunId(*id).created_at().expect("a version 7 UUID has a time");
            assert!(before <= created && created <= after);
        }
        // Neither the upper nor the lower half of the bits repeats or counts up. 4,096 values of 2^37 collide in one of
        // 16,000 tests, so one collision is tolerated.
        let bits: Vec<u128> = ids.iter().map(|id| random_bits(*id)).collect();
        for half in [|bits: u128| bits >> 37, |bits: u128| bits & ((1 << 37) - 1)] {
            let halves: HashSet<u128> = bits.iter().map(|bits| half(*bits)).collect();
            assert!(halves.len() >= bits.len() - 1, "{} of {}", halves.len(), bits.len());
            let steps =
                bits.windows(2).filter(|pair| half(pair[1]).abs_diff(half(pair[0])) < 1 << 16).count();
            assert!(steps < 4, "{steps} ids follow closely on the one before");
        }
        // Each bit is as often set as not: 2048 ± 8 standard deviations.
        for position in 0..74 {
            let set = bits.iter().filter(|bits| *bits >> position & 1 == 1).count();
            assert!((1792..=2304).contains(&set), "bit {position} is set in {set} of 4096 ids");
        }
    }
}
