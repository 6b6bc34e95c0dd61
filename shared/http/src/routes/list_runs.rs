//! `GET /v1/runs`: lists an app's runs.

use super::large_json;
use crate::{
    Api,
    auth::WithKey,
    error::{BadRequest, Error, Forbidden, InternalServerError, NotFound, ServiceUnavailable, Unauthorized},
    fields::{LABEL_VALUE, LABELS, USER_ID, label_key_problem},
    query::Query,
    wire::{Pagination, RunList, RunStatus},
};
use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use runyard_runs::{
    AppId, COUNT_CAP, ListError, ListQuery, PageStart, ReportedStatus, Sort, SortBy, service::list::Page,
};

/// The terms of `sort`.
const SORTS: [(&str, SortBy); 3] =
    [("started_at", SortBy::StartedAt), ("ended_at", SortBy::EndedAt), ("status", SortBy::Status)];

/// Lists the app's runs, newest first. Needs a key, even if the app is public.
#[utoipa::path(
    get,
    path = "/v1/runs",
    operation_id = "list_runs",
    tag = "runs",
    params(
        ("status" = Option<Vec<RunStatus>>, Query, description = "Only runs in one of these statuses; may be repeated.", explode, nullable = false),
        ("user_id" = Option<String>, Query, description = "Only runs of this user.", max_length = 256, nullable = false),
        ("session_id" = Option<Uuid>, Query, description = "Only runs of this session.", nullable = false),
        ("metadata.KEY" = Option<String>, Query, description = "Only runs whose label KEY has this value; at most 16 labels.", max_length = 512, nullable = false),
        ("page" = Option<u64>, Query, description = "Page number, from 1. Pages cover the first 10,000 runs; use `cursor` beyond. Mutually exclusive with `cursor`.", minimum = 1, nullable = false),
        ("page_size" = Option<u32>, Query, description = "Page size; 25 by default.", minimum = 1, maximum = 100, nullable = false),
        ("sort" = Option<String>, Query, description = "Comma-separated list of `started_at`, `ended_at` and `status`, each with `-` for descending; `-started_at` by default. An order that no index supports with these filters is refused; the error names the supported ones.", example = "-started_at", nullable = false),
        ("cursor" = Option<String>, Query, description = "`pagination.next_cursor` of the previous page, with the same filters and order.", nullable = false),
    ),
    responses(
        (status = 200, description = "A page of runs.", body = RunList),
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
    WithKey(caller): WithKey,
    uri: Uri,
) -> Result<Response, Error> {
    let (query, page) = parse(caller.app.id, &uri)?;
    let found = api.service.list(&query).await?;
    let Page { runs, total_count, capped, next_cursor } = found;
    let pagination = Pagination {
        page,
        page_size: query.page_size,
        page_count: total_count.div_ceil(u64::from(query.page_size)),
        total_count,
        total_count_capped: capped,
        next_cursor,
    };
    let list = RunList { data: runs.iter().map(Into::into).collect(), pagination };
    large_json(&api, &caller.app, StatusCode::OK, &list)
}

/// Returns the query, and its page number unless it starts at a cursor.
pub(crate) fn parse(app: AppId, uri: &Uri) -> Result<(ListQuery, Option<u64>), Error> {
    let mut query = Query::of(uri);
    let page = query.page();
    let mut statuses = Vec::new();
    for name in query.all("status") {
        match ReportedStatus::ALL.into_iter().find(|status| status.name() == name) {
            Some(status) if statuses.contains(&status) => {}
            Some(status) => statuses.push(status),
            None => {
                let known = ReportedStatus::ALL.map(ReportedStatus::name).join(", ");
                query.wrong("status", format!("must be one of {known}"));
            }
        }
    }
    let user_id = query.one("user_id");
    if user_id.as_ref().is_some_and(|user| user.chars().count() > USER_ID) {
        query.wrong("user_id", format!("must have at most {USER_ID} characters"));
    }
    let session_id = query.parsed("session_id", "must be a UUID");
    let metadata = query.starting_with("metadata.");
    for (key, value) in &metadata {
        let name = format!("metadata.{key}");
        if let Some(problem) = label_key_problem(key) {
            query.wrong(&name, problem);
        }
        if value.chars().count() > LABEL_VALUE {
            query.wrong(&name, format!("must have at most {LABEL_VALUE} characters"));
        }
    }
    if metadata.len() > LABELS {
        query.wrong("metadata", format!("must have at most {LABELS} keys"));
    }
    let sort = query.sort(&SORTS).unwrap_or_else(|| vec![(SortBy::StartedAt, true)]);
    let cursor = query.one("cursor");
    let number = page.page.unwrap_or(1);
    let offset = number.saturating_sub(1).saturating_mul(u64::from(page.page_size));
    if cursor.is_some() && page.page.is_some() {
        query.wrong("page", "`page` and `cursor` are mutually exclusive");
    } else if offset >= COUNT_CAP {
        query.wrong("page", format!("is beyond the first {COUNT_CAP} runs: use `cursor`"));
        query.wrong("cursor", "send `pagination.next_cursor` of the previous page");
    }
    query.check()?;
    let number = cursor.is_none().then_some(number);
    let query = ListQuery {
        app,
        statuses,
        user_id,
        session_id,
        metadata,
        sort: sort.into_iter().map(|(by, descending)| Sort { by, descending }).collect(),
        start: cursor.map_or(PageStart::Offset(offset), PageStart::Cursor),
        page_size: page.page_size,
    };
    Ok((query, number))
}

impl From<ListError> for Error {
    fn from(error: ListError) -> Self {
        match error {
            ListError::NotServed(served) => Self::bad("sort", served),
            ListError::BadCursor => Self::bad(
                "cursor",
                "does not belong to this query: start again without it, or send the same filters and sort",
            ),
            error @ ListError::TooLarge => Self::bad("page_size", format!("{error}: request fewer runs")),
            ListError::Store(error) => error.into(),
        }
    }
}
