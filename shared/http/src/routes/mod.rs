//! The routes, one file each.

pub(crate) mod answer_run;
pub(crate) mod cancel_run;
pub(crate) mod create_file;
pub(crate) mod create_run;
pub(crate) mod get_run;
pub(crate) mod health;
pub(crate) mod list_runs;
pub(crate) mod openapi;
pub(crate) mod retry_run;
pub(crate) mod run_events;
pub(crate) mod run_path;
pub(crate) mod stream_run;

use crate::{Api, error::Error, unsent};
use axum::{
    Router,
    body::Body,
    response::Response,
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use runyard_runs::App;
use serde::Serialize;

/// Returns the router of all routes, with the errors for unknown routes and methods.
pub(crate) fn all() -> Router<Api> {
    Router::new()
        .route("/v1/runs", post(create_run::handle).get(list_runs::handle))
        .route("/v1/runs/{run_id}", get(get_run::handle))
        .route("/v1/runs/{run_id}/cancel", post(cancel_run::handle))
        .route("/v1/runs/{run_id}/input", post(answer_run::handle))
        .route("/v1/runs/{run_id}/retry", post(retry_run::handle))
        .route("/v1/runs/{run_id}/events", get(run_events::handle))
        .route("/v1/runs/{run_id}/stream", get(stream_run::handle))
        .route("/v1/files", post(create_file::handle))
        .route("/openapi.json", get(openapi::handle))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(|| async { Error::of(StatusCode::NOT_FOUND, "path", "there is no such route") })
        .method_not_allowed_fallback(|| async {
            Error::of(StatusCode::METHOD_NOT_ALLOWED, "method", "is not supported by this route: see `Allow`")
        })
}

/// Returns a response with a JSON body that may be large: it counts as memory until it is sent.
fn large_json(api: &Api, app: &App, status: StatusCode, body: &impl Serialize) -> Result<Response, Error> {
    let mut body = serde_json::to_vec(body).map_err(Error::internal)?;
    let memory = unsent::take(api.service.memory(), app.id, &mut body)?;
    Ok(json_response(status, Body::from(unsent::until_sent(body, memory))))
}

/// Returns a response with a small JSON body.
fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Error> {
    Ok(json_response(status, Body::from(serde_json::to_vec(body).map_err(Error::internal)?)))
}

fn json_response(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
