//! Loads workflow files: parses YAML as the reference does, then validates and compiles it. Reports all errors at once.

mod built;
mod connection;
mod depends;
mod document;
mod fields;
mod interpolate;
mod mistakes;
mod node;
mod requirements;
mod scalar;
mod warnings;
mod yaml;

pub(crate) use connection::Connection;
pub(crate) use depends::condition;
pub use document::workflow_ids;
pub(crate) use document::{Document, Loaded, Within, load};
use fields::nearest;
pub(crate) use fields::{Fields, meant, misspelt};
pub(crate) use interpolate::is_reserved;
pub(crate) use mistakes::Mistakes;
pub use mistakes::{LoadErrors, Mistake, SourcePos};
pub(crate) use node::{Loading, build_node, error_handling, expiry, spec, transformer};
#[cfg(any(test, fuzzing))]
pub(crate) use yaml::read as read_yaml;
pub(crate) use yaml::{Yaml, YamlValue};

/// Resolves environment variables: the value, or `None` if it is not set.
pub(crate) type Env<'e> = dyn Fn(&str) -> Result<Option<String>, Refusal> + Send + Sync + 'e;

/// Why an environment variable is not resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The app may not read it. If the file has a default, it counts as not set.
    #[error("{0}")]
    Forbidden(String),
    /// It is set, but cannot be read now. A default does not apply: it would hide the failure.
    #[error("{0}")]
    Unreadable(String),
}
