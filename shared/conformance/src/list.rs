//! `RunStore`: lists.

use runyard_runs::{AppId, ListQuery, PageStart, Sort, SortBy};

/// The newest runs of an app.
pub fn query(app: AppId) -> ListQuery {
    ListQuery {
        app,
        statuses: Vec::new(),
        user_id: None,
        session_id: None,
        metadata: Vec::new(),
        sort: vec![Sort { by: SortBy::StartedAt, descending: true }],
        start: PageStart::Offset(0),
        page_size: 25,
    }
}
