//! What is to be sent and may not be read: it counts as taken memory until it is sent.

use bytes::Bytes;
use runyard_runs::{AppId, MemoryBudget, OutOfMemory, TakenMemory};
use std::sync::Arc;

/// Smaller answers are not counted: every connection may hold one.
const SMALL: usize = 16 << 10;

/// Bytes of memory that a byte of an answer takes: itself, and what was read and parsed to make it, which the allocator keeps.
const COPIES: usize = 2;

struct Unsent {
    bytes: Vec<u8>,
    _memory: TakenMemory,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The memory for what is to be sent; none if that is small.
pub(crate) fn take(
    memory: &Arc<MemoryBudget>,
    app: AppId,
    bytes: &mut Vec<u8>,
) -> Result<Option<TakenMemory>, OutOfMemory> {
    if bytes.capacity() <= SMALL {
        return Ok(None);
    }
    // It has grown by doubling.
    bytes.shrink_to_fit();
    memory.take(app, COPIES * bytes.len()).map(Some)
}

/// Bytes that hold their memory until the last reference to them is gone, which is when they were sent.
pub(crate) fn until_sent(bytes: Vec<u8>, memory: Option<TakenMemory>) -> Bytes {
    match memory {
        Some(memory) => Bytes::from_owner(Unsent { bytes, _memory: memory }),
        None => bytes.into(),
    }
}
