//! `GET /openapi.json`: returns the document that describes this API.

use crate::{document::openapi, error::Error};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use std::sync::OnceLock;

/// Generated on the first request, so that it does not delay the start.
static DOCUMENT: OnceLock<Bytes> = OnceLock::new();

/// Returns this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "server",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)),
)]
pub(crate) async fn handle() -> Result<Response, Error> {
    let document = DOCUMENT.get_or_init(|| Bytes::from(openapi())).clone();
    let mut response = Response::new(Body::from(document));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
