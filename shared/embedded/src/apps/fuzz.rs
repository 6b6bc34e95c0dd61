//! `app.yaml`.

use super::manifest;
use runyard_fuzzing::text;

/// An `app.yaml`.
///
/// # Panics
///
/// If a promise is broken.
pub fn manifest(input: &[u8]) {
    if let Err(complaints) = manifest::read(&text(input), "folder") {
        assert!(!complaints.is_empty(), "a file that is refused has nothing wrong");
    }
}
