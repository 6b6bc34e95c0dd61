//! Counts the memory of responses until they are sent, since a client may read slowly or not at all.

use bytes::Bytes;
use runyard_runs::{AppId, MemoryBudget, OutOfMemory, TakenMemory};
use std::sync::Arc;

/// Bytes up to which a response is not counted: every connection may hold one.
const SMALL: usize = 16 << 10;

/// Bytes of memory per byte of a response: itself, and the data that it was made from, which the allocator keeps.
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

/// Takes the memory for bytes to send; `None` if they are at most [`SMALL`].
pub(crate) fn take(
    memory: &Arc<MemoryBudget>,
    app: AppId,
    bytes: &mut Vec<u8>,
) -> Result<Option<TakenMemory>, OutOfMemory> {
    if bytes.capacity() <= SMALL {
        return Ok(None);
    }
    // The buffer grew by doubling.
    bytes.shrink_to_fit();
    memory.take(app, COPIES * bytes.len()).map(Some)
}

/// Returns bytes that hold their memory until the last reference is dropped, which is when they were sent.
pub(crate) fn until_sent(bytes: Vec<u8>, memory: Option<TakenMemory>) -> Bytes {
    match memory {
        Some(memory) => Bytes::from_owner(Unsent { bytes, _memory: memory }),
        None => bytes.into(),
    }
}
