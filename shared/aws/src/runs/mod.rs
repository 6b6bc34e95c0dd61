//! Runs: their logs, their records, and what was asked for.

use crate::aws::Home;
use std::sync::Arc;

/// [`RunStore`](runyard_runs::RunStore) on DynamoDB.
pub struct Runs {
    home: Arc<Home>,
}

impl Runs {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home }
    }
}
