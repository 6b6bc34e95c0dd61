//! What `cargo fuzz` tries, and the tests replay: what reads `app.yaml` and the cursors of lists.

pub use crate::{apps::fuzz::manifest, runs::fuzz::cursor};

use runyard_fuzzing::Target;

/// The targets of this crate.
pub const TARGETS: &[Target] = &[("manifest", manifest), ("cursor", cursor)];

#[cfg(test)]
mod tests {
    #[test]
    fn corpora() {
        runyard_fuzzing::replay(super::TARGETS);
    }
}
