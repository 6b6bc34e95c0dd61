//! Results of reads, cached for 15 s.

use runyard_runs::{Clock, Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long the result of a read may be served from memory.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(15);

/// Results of the last 15 s. Missing keys are cached apart from existing ones, so that lookups of guessed keys evict
/// nothing that is in use. Ages are measured by the wall clock, so that the time in which a process was frozen counts.
pub(crate) struct Cache<K, V> {
    clock: Arc<dyn Clock>,
    found: Mutex<Fifo<K, V>>,
    absent: Mutex<Fifo<K, ()>>,
}

/// A cached result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<V> {
    /// The key exists, with this value.
    There(V),
    /// The key does not exist.
    Absent,
}

impl<V> Answer<V> {
    pub(crate) fn into_option(self) -> Option<V> {
        match self {
            Self::There(value) => Some(value),
            Self::Absent => None,
        }
    }
}

struct Fifo<K, V> {
    capacity: usize,
    answers: HashMap<K, (u64, Timestamp, V)>,
    /// The keys, oldest result first.
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// Keeps up to `capacity` existing and as many missing keys.
    pub(crate) fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        Self { clock, found: Mutex::new(Fifo::new(capacity)), absent: Mutex::new(Fifo::new(capacity)) }
    }

    /// Returns the result of the last 15 s, if one is cached.
    pub(crate) fn get(&self, key: &K) -> Option<Answer<V>> {
        let now = self.clock.now();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(key, now);
        if found.is_some() {
            return found.map(Answer::There);
        }
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner).get(key, now);
        absent.map(|()| Answer::Absent)
    }

    /// The time before a read: the age of its result counts from then.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Caches the result of a read that began at `read_at`.
    pub(crate) fn put(&self, key: K, read_at: Timestamp, answer: Option<V>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = answer {
            absent.remove(&key);
            found.put(key, read_at, value);
        } else {
            found.remove(&key);
            absent.put(key, read_at, ());
        }
    }

    /// Forgets the result for a key.
    pub(crate) fn remove(&self, key: &K) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Fifo<K, V> {
    fn new(capacity: usize) -> Self {
        Self { capacity, answers: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let (_, read_at, value) = self.answers.get(key)?;
        // A clock that was set back must not prolong anything.
        (*read_at <= now && now.since(*read_at) < REMEMBERED).then(|| value.clone())
    }

    fn put(&mut self, key: K, read_at: Timestamp, value: V) {
        self.remove(&key);
        while self.answers.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.answers.remove(&oldest);
        }
        self.order.insert(self.next, key.clone());
        self.answers.insert(key, (self.next, read_at, value));
        self.next += 1;
    }

    fn remove(&mut self, key: &K) {
        if let Some((number, ..)) = self.answers.remove(key) {
            self.order.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Answer::{Absent, There},
        *,
    };
    use std::sync::atomic::{AtomicI64, Ordering};

    #[derive(Default)]
    struct ManualClock(AtomicI64);

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    fn cache(capacity: usize) -> (Arc<ManualClock>, Cache<u32, &'static str>) {
        let clock = Arc::new(ManualClock(AtomicI64::new(1_000_000)));
        (Arc::clone(&clock), Cache::new(clock, capacity))
    }

    #[test]
    fn a_result_lasts_15_seconds_from_the_start_of_its_read() {
        let (clock, cache) = cache(4);
        let read_at = cache.now();
        clock.0.fetch_add(5_000, Ordering::Relaxed);
        cache.put(1, read_at, Some("one"));
        cache.put(2, read_at, None);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(There("one")), Some(Absent), None));
        clock.0.fetch_add(9_999, Ordering::Relaxed);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(There("one")), Some(Absent)));
        clock.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
        clock.0.fetch_sub(60_000, Ordering::Relaxed);
        assert_eq!(cache.get(&1), None, "the clock was set back");
    }

    #[test]
    fn guessed_keys_are_bounded_and_evict_no_existing_key() {
        let (_, cache) = cache(3);
        cache.put(0, cache.now(), Some("real"));
        for guess in 1..1000 {
            cache.put(guess, cache.now(), None);
        }
        assert_eq!(cache.get(&0), Some(There("real")));
        assert_eq!(cache.absent.lock().unwrap().answers.len(), 3);
        assert_eq!(cache.absent.lock().unwrap().order.len(), 3);
        assert_eq!((cache.get(&999), cache.get(&996)), (Some(Absent), None));
        for key in 2000..2003 {
            cache.put(key, cache.now(), Some("other"));
        }
        assert_eq!(cache.get(&0), None, "the oldest is evicted");
        cache.put(999, cache.now(), Some("created since"));
        assert_eq!(cache.get(&999), Some(There("created since")));
        cache.remove(&999);
        assert_eq!(cache.get(&999), None);
    }
}
