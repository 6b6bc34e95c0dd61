//! `GET /v1/runs`: an app's runs.

use super::RunService;
use crate::{ListError, ListQuery, Run};

/// A page of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The runs.
    pub runs: Vec<Run>,
    /// How many there are on all pages; [`COUNT_CAP`](crate::COUNT_CAP) if more.
    pub total_count: u64,
    /// Whether there are more than that.
    pub capped: bool,
    /// Where the next page starts, if there is one.
    pub next_cursor: Option<String>,
}

impl RunService {
    /// A page of an app's runs.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, ListError> {
        let _ = query;
        todo!()
    }
}
