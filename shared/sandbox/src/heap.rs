//! Keeps the objects of an evaluation close together in memory.
//!
//! The kernel copies each page that an evaluation shares with its parent process and writes to. Memory that was freed
//! while the interpreter was warmed is scattered over the heap, and the allocator reuses it first, so each small object
//! of an evaluation would cost a page copy. With these gaps closed, new objects are allocated side by side at the end.

/// Bytes from which the allocator takes memory from the system directly.
const MAX_CHUNK: usize = 120 * 1024;
/// The allocator's smallest chunk.
const MIN_CHUNK: usize = 16;
/// Up to this size every chunk size is tried; above it, only some.
const MAX_EXACT: usize = 1024;

/// Allocates the free chunks between those in use and leaks them: a few hundred kilobytes.
pub(crate) fn close_gaps() {
    // An allocation that fits no gap comes from the end of the heap, as this one does.
    let end: Vec<u8> = Vec::with_capacity(MAX_CHUNK);
    let end = end.as_ptr().addr();
    let mut size = MAX_CHUNK;
    while size >= MIN_CHUNK {
        loop {
            let gap: Vec<u8> = Vec::with_capacity(size);
            if gap.as_ptr().addr() >= end {
                break;
            }
            std::mem::forget(gap);
        }
        size -= if size > MAX_EXACT { size / 8 / 16 * 16 } else { 16 };
    }
}
