//! Where the memory lies that evaluations write to.
//!
//! An evaluation pays for each page that it writes to and has in common with the process that forked it: the kernel copies it.
//! What was freed while the interpreter was warmed lies scattered over the whole heap, and an allocator hands it out first, so
//! that each small object of an evaluation cost a page of its own. With the gaps gone, new objects lie side by side at the end.

/// From here on the allocator takes memory from the system directly.
const LARGEST: usize = 120 * 1024;
/// The smallest chunk that there is.
const SMALLEST: usize = 16;
/// Where sizes are too many to try each.
const SMALL: usize = 1024;

/// Takes what is free between what is in use out of circulation, for good: a few hundred kilobytes.
pub(crate) fn close_gaps() {
    // What cannot be had from a gap comes from the end of the heap, as this does.
    let end: Vec<u8> = Vec::with_capacity(LARGEST);
    let end = end.as_ptr().addr();
    let mut size = LARGEST;
    while size >= SMALLEST {
        loop {
            let gap: Vec<u8> = Vec::with_capacity(size);
            if gap.as_ptr().addr() >= end {
                break;
            }
            std::mem::forget(gap);
        }
        size -= if size > SMALL { size / 8 / 16 * 16 } else { 16 };
    }
}
