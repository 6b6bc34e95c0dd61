//! `GET /healthz` and `GET /readyz`: liveness and readiness, without a key or an app.

use super::json;
use crate::{
    Api,
    error::{Error, ServiceUnavailable},
    wire::Message,
};
use axum::{extract::State, response::Response};
use http::StatusCode;
use std::time::Duration;

/// Liveness: whether the process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    tag = "server",
    security(()),
    responses((status = 200, description = "The process answers.", body = Message)),
)]
pub(crate) async fn live() -> Result<Response, Error> {
    json(StatusCode::OK, &Message { message: "ok" })
}

/// Readiness: the server accepts runs. It is not shutting down, and can read its apps.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "server",
    security(()),
    responses(
        (status = 200, description = "The server accepts runs.", body = Message),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn ready(State(api): State<Api>) -> Result<Response, Error> {
    if api.service.is_shutting_down() {
        return Err(Error::of(StatusCode::SERVICE_UNAVAILABLE, "server", "is shutting down")
            .retry_after(Duration::from_secs(1)));
    }
    api.apps.list().await?;
    json(StatusCode::OK, &Message { message: "ok" })
}
