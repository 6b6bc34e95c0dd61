//! The memory budget of a process for requests, runs and answers, shared between apps.
//!
//! It is estimated, not measured: code that is about to hold much memory takes it from the budget first. What does not
//! fit is refused, so that no caller can make the process run out of memory for all.

use crate::AppId;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One app may take the budget divided by this, so that some is left for other apps.
const APP_DIVISOR: usize = 2;

/// A limit on memory, and how much of it each app has taken.
pub struct MemoryBudget {
    total: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    sum: usize,
    by_app: HashMap<AppId, usize>,
}

/// The requested memory does not fit into the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's memory budget is used up ({} MiB for all requests and runs, half of that for one app)", .total >> 20)]
pub struct OutOfMemory {
    /// The whole budget in bytes, taken or not.
    pub total: usize,
}

impl MemoryBudget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, taken: Mutex::default() })
    }

    /// The whole budget in bytes, taken or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Takes `bytes` for an app, until the guard is dropped.
    pub fn take(self: &Arc<Self>, app: AppId, bytes: usize) -> Result<TakenMemory, OutOfMemory> {
        let mut memory = TakenMemory { budget: Arc::clone(self), app, bytes: 0 };
        memory.resize(bytes)?;
        Ok(memory)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that was taken from a budget, until this is dropped.
pub struct TakenMemory {
    budget: Arc<MemoryBudget>,
    app: AppId,
    bytes: usize,
}

impl TakenMemory {
    /// How many bytes are taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the size; it is unchanged on error. The only holder of the budget is never refused: other limits bound
    /// it.
    pub fn resize(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let mut taken = self.budget.lock();
        let of_app = taken.by_app.get(&self.app).copied().unwrap_or(0);
        let (others, others_of_app) = (taken.sum - self.bytes, of_app - self.bytes);
        let total = self.budget.total;
        let fits = |others: usize, limit: usize| others == 0 || others.saturating_add(bytes) <= limit;
        if bytes > self.bytes && !(fits(others, total) && fits(others_of_app, total / APP_DIVISOR)) {
            return Err(OutOfMemory { total });
        }
        taken.sum = others + bytes;
        if others_of_app + bytes == 0 {
            taken.by_app.remove(&self.app);
        } else {
            taken.by_app.insert(self.app, others_of_app + bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Adds bytes that are already in memory and so cannot be refused.
    pub fn add(&mut self, bytes: usize) {
        let mut taken = self.budget.lock();
        taken.sum += bytes;
        *taken.by_app.entry(self.app).or_default() += bytes;
        self.bytes += bytes;
    }
}

impl Drop for TakenMemory {
    fn drop(&mut self) {
        // Shrinking is never refused.
        let _ = self.resize(0);
    }
}

impl fmt::Debug for TakenMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakenMemory")
            .field("app", &self.app)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryBudget;
    use crate::AppId;
    use uuid::Uuid;

    #[test]
    fn one_app_leaves_half_to_others() {
        let budget = MemoryBudget::new(100);
        let app = |number| AppId(Uuid::from_u128(number));
        let mut first = budget.take(app(1), 30).unwrap();
        assert!(budget.take(app(1), 21).is_err());
        let second = budget.take(app(1), 20).unwrap();
        let other = budget.take(app(2), 40).unwrap();
        assert!(budget.take(app(2), 11).is_err() && budget.take(app(3), 11).is_err());
        assert!(first.resize(31).is_err());
        assert_eq!(first.bytes(), 30);
        first.resize(10).unwrap();
        let third = budget.take(app(3), 30).unwrap();
        drop((first, second, other, third));
        assert!(budget.lock().by_app.is_empty() && budget.lock().sum == 0);
    }

    #[test]
    fn the_only_holder_is_never_refused() {
        let budget = MemoryBudget::new(100);
        let app = AppId(Uuid::from_u128(1));
        let mut only = budget.take(app, 1000).unwrap();
        assert!(only.resize(2000).is_ok());
        assert!(budget.take(AppId(Uuid::from_u128(2)), 1).is_err());
        only.add(10);
        assert_eq!(only.bytes(), 2010);
        assert!(only.resize(1).is_ok());
        assert!(budget.take(app, 49).is_ok());
    }
}
