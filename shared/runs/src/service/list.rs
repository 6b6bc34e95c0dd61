//! `GET /v1/runs`: an app's runs.

use super::RunService;
use crate::{ListError, ListQuery, Run};

/// A page of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The runs.
    pub runs: Vec<Run>,
    /// The number of runs on all pages, up to [`COUNT_CAP`](crate::COUNT_CAP).
    pub total_count: u64,
    /// Whether there are more runs than that.
    pub capped: bool,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

impl RunService {
    /// Returns a page of an app's runs.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, ListError> {
        let _permit = self.reads.acquire().await;
        let page = self.ports.runs.list(query).await?;
        let mut runs = Vec::with_capacity(page.runs.len());
        for stored in page.runs {
            runs.push(self.run_of(stored).await?);
        }
        Ok(Page { runs, total_count: page.total_count, capped: page.capped, next_cursor: page.next_cursor })
    }
}
