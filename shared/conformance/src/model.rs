//! Filter and order of lists, as a naive implementation.

use runyard_runs::{ListQuery, ReportedStatus, Sort, SortBy, StoredRun};
use std::cmp::Ordering;

/// Whether a run matches a query.
pub(crate) fn matches(query: &ListQuery, run: &StoredRun) -> bool {
    let has_value = |(key, value): &(String, String)| run.new.metadata.get(key) == Some(value);
    run.new.app == query.app
        && (query.statuses.is_empty() || query.statuses.contains(&status(run)))
        && query.user_id.as_ref().is_none_or(|user| run.new.user_id.as_ref() == Some(user))
        && query.session_id.is_none_or(|session| run.new.session_id == Some(session))
        && query.metadata.iter().all(has_value)
}

/// Compares two runs in an order. Equal runs may be listed in either order.
pub(crate) fn compare(sort: &[Sort], one: &StoredRun, other: &StoredRun) -> Ordering {
    sort.iter().fold(Ordering::Equal, |so_far, term| so_far.then_with(|| compare_by(*term, one, other)))
}

fn compare_by(term: Sort, one: &StoredRun, other: &StoredRun) -> Ordering {
    let directed = |ordering: Ordering| if term.descending { ordering.reverse() } else { ordering };
    match term.by {
        SortBy::StartedAt => directed(one.new.created_at.cmp(&other.new.created_at)),
        SortBy::Status => directed(status(one).cmp(&status(other))),
        SortBy::EndedAt => match (one.record.ended_at, other.record.ended_at) {
            (Some(one), Some(other)) => directed(one.cmp(&other)),
            (one, other) => other.is_some().cmp(&one.is_some()),
        },
    }
}

fn status(run: &StoredRun) -> ReportedStatus {
    run.record.status.reported(run.record.unanswered)
}

/// A reproducible random number generator: splitmix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or(0)
    }

    /// Returns true with probability 1/`sides`.
    pub(crate) fn one(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    /// A random item of `from`.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}
