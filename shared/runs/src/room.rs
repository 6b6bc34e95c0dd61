//! What one execution of a run may still write and hold.

use crate::{App, Logged, OutOfMemory, Size, TakenMemory};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// Memory is taken in pieces of this many bytes, so that small outputs cost no lock.
const PIECE: usize = 256 << 10;

/// What a run takes of the process's memory while it is executed.
#[derive(Clone)]
pub(crate) struct RunMemory {
    taken: Arc<Mutex<TakenMemory>>,
    /// At its start.
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
    most_bytes: u64,
    bytes: AtomicU64,
    held: AtomicUsize,
    /// How much of what is held was taken from the process's memory.
    taken: AtomicUsize,
    memory: Option<RunMemory>,
}

/// Without end.
impl Default for Room {
    fn default() -> Self {
        Self {
            most_bytes: u64::MAX,
            bytes: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            memory: None,
        }
    }
}

impl Room {
    /// For a run whose log has `journal` already.
    pub(crate) fn new(app: &App, journal: &[Logged], memory: &RunMemory) -> Self {
        let most_bytes = app.limits.run_bytes;
        let room = Self { most_bytes, memory: Some(memory.clone()), ..Self::default() };
        let mut held = 0;
        for logged in journal {
            room.log(logged);
            held += logged.journal.as_ref().map_or(0, |journal| Size::of(journal).memory);
        }
        let mut taken = memory.lock();
        // Less is never refused, and what is in memory already cannot be.
        let _ = taken.resize(memory.first);
        taken.add(held);
        drop(taken);
        room
    }

    /// Counts what is written.
    pub(crate) fn log(&self, logged: &Logged) {
        self.bytes.fetch_add(logged.bytes() as u64, Relaxed);
    }

    /// Whether more was written than may be.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Relaxed) > self.most_bytes
    }

    /// Counts what is held until the end.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let held = self.held.fetch_add(bytes, Relaxed) + bytes;
        if held < self.taken.load(Relaxed) + PIECE {
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
