//! `GET /v1/runs/{run_id}/events`: lists the stored events of a run.

use super::{large_json, run_path::RunPath};
use crate::{
    Api,
    auth::WithKeyOrPublic,
    error::{BadRequest, Error, Forbidden, InternalServerError, NotFound, ServiceUnavailable, Unauthorized},
    query::Query,
    wire::{EventList, Pagination, RunEvent},
};
use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use runyard_runs::service::events;

/// Lists the stored events of a run.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}/events",
    operation_id = "list_run_events",
    tag = "runs",
    params(
        ("run_id" = Uuid, Path, description = "The run."),
        ("page" = Option<u64>, Query, description = "Page number, from 1.", minimum = 1, nullable = false),
        ("page_size" = Option<u32>, Query, description = "Page size; 25 by default.", minimum = 1, maximum = 100, nullable = false),
        ("sort" = Option<String>, Query, description = "`sequence`, or `-sequence` for descending.", example = "-sequence", nullable = false),
    ),
    responses(
        (status = 200, description = "A page of events.", body = EventList),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 500, response = InternalServerError),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn handle(
    State(api): State<Api>,
    WithKeyOrPublic(caller): WithKeyOrPublic,
    RunPath(run): RunPath,
    uri: Uri,
) -> Result<Response, Error> {
    let mut query = Query::of(&uri);
    let page = query.page();
    let sort = query.sort(&[("sequence", ())]);
    query.check()?;
    let descending = sort.is_some_and(|terms| terms.first().is_some_and(|((), descending)| *descending));
    let number = page.page.unwrap_or(1);
    let found = api.service.events(&caller.app, run, number, page.page_size, descending).await?;
    let pagination = Pagination {
        page: Some(number),
        page_size: page.page_size,
        page_count: found.total_count.div_ceil(u64::from(page.page_size)),
        total_count: found.total_count,
        total_count_capped: false,
        next_cursor: None,
    };
    let list = EventList { data: found.events.iter().map(RunEvent).collect(), pagination };
    large_json(&api, &caller.app, StatusCode::OK, &list)
}

impl From<events::Error> for Error {
    fn from(error: events::Error) -> Self {
        match error {
            events::Error::NotFound => Self::no_run(),
            error @ events::Error::TooLarge => {
                Self::bad("page_size", format!("{error}: request fewer events, or follow the run's stream"))
            }
            events::Error::Store(error) => error.into(),
        }
    }
}
