//! Wraps every request: request id, bodies of errors, panics, CORS.

use crate::{Api, cors, error::Error};
use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::panic::AssertUnwindSafe;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a request id that a caller sends; a longer one is replaced.
const MAX_ID_LENGTH: usize = 128;

/// The outermost middleware.
pub(crate) async fn wrap(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = request_id(&api, request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let origin = cors::allowed(&api.config.cors_origins, request.headers());
    let mut response = if cors::is_preflight(&request) && !api.config.cors_origins.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Error::internal(message.unwrap_or_else(|| "a panic".to_owned())).into_response()
        })
    };
    if let Some(error) = response.extensions_mut().remove::<Error>() {
        let request_id = id.to_str().unwrap_or_default();
        log(&error, &method, &path, request_id);
        error.write_to(&mut response, request_id);
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
    }
    if let Some(origin) = origin {
        cors::allow(&mut response, origin, method == Method::OPTIONS);
    }
    if !api.config.cors_origins.is_empty() {
        cors::vary(&mut response);
    }
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

fn log(error: &Error, method: &Method, path: &str, request_id: &str) {
    let status = error.status().as_u16();
    match error.cause() {
        Some(cause) if error.status() == StatusCode::SERVICE_UNAVAILABLE => {
            tracing::warn!(%method, path, status, request_id, error = %cause, "store unavailable");
        }
        Some(cause) => tracing::error!(%method, path, status, request_id, error = %cause, "request failed"),
        None => tracing::debug!(%method, path, status, request_id, "request refused"),
    }
}

/// Returns the request id that the caller sent if it is valid, else a new one.
fn request_id(api: &Api, headers: &HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    if let (Some(id), None) = (given.next(), given.next())
        && (1..=MAX_ID_LENGTH).contains(&id.len())
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
    {
        return id.clone();
    }
    let mut text = [0; 36];
    let text = api.ids.random().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}
