//! What nodes share beside the run: the ways to the outside.

use crate::python::PythonRunner;
use std::{fmt, sync::Arc};

/// The services of one app.
pub(crate) struct Services {
    pub(crate) python: Arc<dyn PythonRunner>,
    pub(crate) http: crate::egress::Http,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
