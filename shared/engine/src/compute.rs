//! What the computation on this thread may still use.

/// What a computation has used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exceeded;

/// Counts steps.
pub(crate) fn step(_count: u64) -> Result<(), Exceeded> {
    Ok(())
}

/// Counts bytes that are about to be made.
pub(crate) fn make(_bytes: usize) -> Result<(), Exceeded> {
    Ok(())
}
