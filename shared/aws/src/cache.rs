//! Answers that are kept for a while.

use runyard_runs::{Clock, Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long what a port is asked for may be answered from memory.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(15);

/// Answers of the last 15 s: what there is and, apart from it, what there is not, so that no number of guesses pushes out
/// what is in use. Judged by the clock on the wall: a process that was frozen in between does not count less.
pub(crate) struct Cache<K, V> {
    clock: Arc<dyn Clock>,
    found: Mutex<Shelf<K, V>>,
    absent: Mutex<Shelf<K, ()>>,
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<V> {
    /// There it is.
    There(V),
    /// There is nothing.
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

struct Shelf<K, V> {
    capacity: usize,
    answers: HashMap<K, (u64, Timestamp, V)>,
    /// The keys in the order of their answers.
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// Keeps up to `capacity` answers of either kind.
    pub(crate) fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        Self { clock, found: Mutex::new(Shelf::new(capacity)), absent: Mutex::new(Shelf::new(capacity)) }
    }

    /// The answer of the last 15 s, if one is kept.
    pub(crate) fn get(&self, key: &K) -> Option<Answer<V>> {
        let now = self.clock.now();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(key, now);
        if found.is_some() {
            return found.map(Answer::There);
        }
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner).get(key, now);
        absent.map(|()| Answer::Absent)
    }

    /// When a question is about to be asked: its answer is as old as that.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Keeps the answer to a question that was asked at `asked`.
    pub(crate) fn put(&self, key: K, asked: Timestamp, answer: Option<V>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = answer {
            absent.remove(&key);
            found.put(key, asked, value);
        } else {
            found.remove(&key);
            absent.put(key, asked, ());
        }
    }

    /// Forgets an answer.
    pub(crate) fn remove(&self, key: &K) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Shelf<K, V> {
    fn new(capacity: usize) -> Self {
        Self { capacity, answers: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let (_, asked, value) = self.answers.get(key)?;
        // A clock that was set back makes nothing last longer.
        (*asked <= now && now.since(*asked) < REMEMBERED).then(|| value.clone())
    }

    fn put(&mut self, key: K, asked: Timestamp, value: V) {
        self.remove(&key);
        while self.answers.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.answers.remove(&oldest);
        }
        self.order.insert(self.next, key.clone());
        self.answers.insert(key, (self.next, asked, value));
        self.next += 1;
    }

    fn remove(&mut self, key: &K) {
        if let Some((place, ..)) = self.answers.remove(key) {
            self.order.remove(&place);
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
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    fn cache(capacity: usize) -> (Arc<Hand>, Cache<u32, &'static str>) {
        let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
        (Arc::clone(&clock), Cache::new(clock, capacity))
    }

    #[test]
    fn an_answer_lasts_15_seconds_from_its_question() {
        let (clock, cache) = cache(4);
        let asked = cache.now();
        clock.0.fetch_add(5_000, Ordering::Relaxed);
        cache.put(1, asked, Some("one"));
        cache.put(2, asked, None);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(There("one")), Some(Absent), None));
        clock.0.fetch_add(9_999, Ordering::Relaxed);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(There("one")), Some(Absent)));
        clock.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
        clock.0.fetch_sub(60_000, Ordering::Relaxed);
        assert_eq!(cache.get(&1), None, "the clock was set back");
    }

    #[test]
    fn guesses_are_bounded_and_push_out_nothing_that_is_there() {
        let (_, cache) = cache(3);
        cache.put(0, cache.now(), Some("real"));
        for guess in 1..1000 {
            cache.put(guess, cache.now(), None);
        }
        assert_eq!(cache.get(&0), Some(There("real")));
        assert_eq!(cache.absent.lock().unwrap().answers.len(), 3);
        assert_eq!(cache.absent.lock().unwrap().order.len(), 3);
        assert_eq!((cache.get(&999), cache.get(&996)), (Some(Absent), None));
        for there in 2000..2003 {
            cache.put(there, cache.now(), Some("other"));
        }
        assert_eq!(cache.get(&0), None, "the oldest goes");
        cache.put(999, cache.now(), Some("made since"));
        assert_eq!(cache.get(&999), Some(There("made since")));
        cache.remove(&999);
        assert_eq!(cache.get(&999), None);
    }
}
