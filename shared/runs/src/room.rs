//! The limits on the log and the memory of one execution of a run.

use crate::{App, Logged, OutOfMemory, Size, TakenMemory};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// Memory is taken from the budget in pieces of this many bytes, so that small outputs do not need the lock.
const PIECE_BYTES: usize = 256 << 10;

/// The memory that a run takes from the process's budget while it is executed.
#[derive(Clone)]
pub(crate) struct RunMemory {
    taken: Arc<Mutex<TakenMemory>>,
    /// Bytes taken at the start.
    first: usize,
}

impl RunMemory {
    pub(crate) fn new(taken: TakenMemory) -> Self {
        Self { first: taken.bytes(), taken: Arc::new(Mutex::new(taken)) }
    }

    fn lock(&self) -> MutexGuard<'_, TakenMemory> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the bytes of a run's log, and the memory that its outputs take.
pub(crate) struct Room {
    max_bytes: u64,
    bytes: AtomicU64,
    held: AtomicUsize,
    /// Bytes of `held` that were taken from the process's budget.
    taken: AtomicUsize,
    memory: Option<RunMemory>,
}

/// Without limits.
impl Default for Room {
    fn default() -> Self {
        Self {
            max_bytes: u64::MAX,
            bytes: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            memory: None,
        }
    }
}

impl Room {
    /// For a run whose log already has `journal`.
    pub(crate) fn new(app: &App, journal: &[Logged], memory: &RunMemory) -> Self {
        let max_bytes = app.limits.run_bytes;
        let room = Self { max_bytes, memory: Some(memory.clone()), ..Self::default() };
        let mut held = 0;
        for logged in journal {
            room.log(logged);
            held += logged.journal.as_ref().map_or(0, |journal| Size::of(journal).memory);
        }
        let mut taken = memory.lock();
        // Shrinking is never refused, and what is already in memory cannot be refused.
        let _ = taken.resize(memory.first);
        taken.add(held);
        drop(taken);
        room
    }

    /// Counts an event that is written to the log.
    pub(crate) fn log(&self, logged: &Logged) {
        self.bytes.fetch_add(logged.bytes() as u64, Relaxed);
    }

    /// Whether the log exceeds its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Relaxed) > self.max_bytes
    }

    /// Counts memory that is held until the end of the execution.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let held = self.held.fetch_add(bytes, Relaxed) + bytes;
        if held < self.taken.load(Relaxed) + PIECE_BYTES {
            return Ok(());
        }
        let mut memory = memory.lock();
        let more = held.saturating_sub(self.taken.load(Relaxed));
        let whole = memory.bytes() + more;
        memory.resize(whole)?;
        self.taken.fetch_add(more, Relaxed);
        Ok(())
    }
}
