//! Immutable facts of a run that are needed to write to it: cached, since an entry does not contain them.

use crate::table;
use runyard_runs::{AppId, RunId, Timestamp};
use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

/// The immutable facts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) app: AppId,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Facts {
    /// When its items may be deleted, in seconds since 1970.
    pub(super) fn ttl(&self) -> i64 {
        let deleted_at = self.expires_at + table::LINGER;
        deleted_at.0.div_euclid(1000).saturating_add(1)
    }

    /// The longest that any of its items or objects is kept, in seconds. At most
    /// [`bodies::LONGEST_KEPT`](crate::bodies::LONGEST_KEPT): deploying an app whose runs exceed it is refused.
    pub(super) fn kept_seconds(&self) -> i64 {
        self.ttl().saturating_sub(self.created_at.0.div_euclid(1000))
    }
}

/// Maximum number of runs per generation, at about 100 bytes per run.
const GENERATION: usize = 8192;

/// The runs that this process used recently, in two generations: when the newer one is full, the older one is dropped.
#[derive(Default)]
pub(super) struct KnownRuns {
    generations: Mutex<[HashMap<RunId, Facts>; 2]>,
}

impl KnownRuns {
    pub(super) fn find(&self, run: RunId) -> Option<Facts> {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.iter().find_map(|runs| runs.get(&run)).copied()
    }

    pub(super) fn learn(&self, run: RunId, facts: Facts) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.len() >= GENERATION && !young.contains_key(&run) {
            *old = mem::take(young);
        }
        young.insert(run, facts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn memory_is_bounded_and_used_runs_stay() {
        let known = KnownRuns::default();
        let run = |number| RunId(Uuid::from_u128(number));
        let facts = |millis| Facts {
            app: AppId(Uuid::nil()),
            created_at: Timestamp(0),
            expires_at: Timestamp(millis),
        };
        for number in 0..100_000 {
            known.learn(run(number), facts(7));
            known.learn(run(0), facts(1));
        }
        assert_eq!(known.find(run(0)), Some(facts(1)));
        assert_eq!(known.find(run(99_999)), Some(facts(7)));
        assert_eq!(known.find(run(1)), None);
        let kept = known.generations.lock().unwrap().iter().map(HashMap::len).sum::<usize>();
        assert!(kept <= 2 * GENERATION);
    }

    #[test]
    fn items_outlive_their_run_by_a_day() {
        let facts = Facts { app: AppId(Uuid::nil()), created_at: Timestamp(0), expires_at: Timestamp(1) };
        assert_eq!((facts.ttl(), facts.kept_seconds()), (86_401, 86_401));
        let forever = Facts { expires_at: Timestamp(i64::MAX), ..facts };
        assert!(forever.ttl() > 0);
    }
}
