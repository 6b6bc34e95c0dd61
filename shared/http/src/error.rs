//! The one error format: `{"error": {"code", "message", "details", "request_id"}}`.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use runyard_runs::{FieldErrors, OutOfMemory, StoreError};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use utoipa::{ToResponse, ToSchema};

/// A refused or failed request. It passes through the router as an extension of an empty response;
/// [`envelope`](crate::envelope), which knows the request id, writes the body.
#[derive(Clone, Debug)]
pub(crate) struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    details: FieldErrors,
    retry_after: Option<Duration>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// `Retry-After` if the store is unavailable.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// `Retry-After` if memory is exhausted.
const MEMORY_RETRY: Duration = Duration::from_secs(2);

impl Error {
    /// An error without details.
    pub(crate) fn new(status: StatusCode) -> Self {
        Self(Box::new(Inner { status, details: FieldErrors::new(), retry_after: None, cause: None }))
    }

    /// An error in one field, header or parameter.
    pub(crate) fn of(status: StatusCode, field: &str, problem: impl Into<String>) -> Self {
        Self::new(status).and(field, problem)
    }

    /// 400 for one field.
    pub(crate) fn bad(field: &str, problem: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, field, problem)
    }

    /// 400 by field.
    pub(crate) fn invalid(details: FieldErrors) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST);
        error.0.details = details;
        error
    }

    /// 404: no app on this host.
    pub(crate) fn no_app() -> Self {
        Self::of(StatusCode::NOT_FOUND, "Host", "no app is served on this host")
    }

    /// 401 of a public app: this operation needs a key.
    pub(crate) fn key_needed() -> Self {
        Self::unauthorized(
            "is missing: without an access key a caller can create and follow runs, and can cancel or answer only runs that \
             were created without a key, but no approvals",
        )
    }

    /// 404: the app has no such run.
    pub(crate) fn no_run() -> Self {
        Self::of(StatusCode::NOT_FOUND, "run_id", "this app has no such run")
    }

    /// 401: the key is missing or invalid.
    pub(crate) fn unauthorized(problem: &str) -> Self {
        Self::of(StatusCode::UNAUTHORIZED, "Authorization", problem)
    }

    /// 500: the cause is logged, and not sent.
    pub(crate) fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR);
        error.0.cause = Some(Arc::from(cause.into()));
        error
    }

    /// Adds an error in another field.
    pub(crate) fn and(mut self, field: &str, problem: impl Into<String>) -> Self {
        self.0.details.insert(field.to_owned(), problem.into());
        self
    }

    /// Sets `Retry-After`.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the cause, which is only logged.
    pub(crate) fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync)> {
        self.0.cause.as_deref()
    }

    /// Writes the body and its content type.
    pub(crate) fn write_to(&self, response: &mut Response, request_id: &str) {
        let message = self.0.status.canonical_reason().unwrap_or("Error");
        let body = ErrorResponse {
            error: ErrorBody {
                code: message.to_ascii_lowercase().replace([' ', '-'], "_"),
                message: message.to_owned(),
                details: self.0.details.clone(),
                request_id: request_id.to_owned(),
            },
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
    }
}

/// A failure of the store is not the caller's error, so its cause is not sent.
impl From<StoreError> for Error {
    fn from(cause: StoreError) -> Self {
        let mut error = match &cause {
            StoreError::Unknown(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE).retry_after(STORE_RETRY),
            StoreError::Failed(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR),
        };
        error.0.cause = Some(Arc::new(cause));
        error
    }
}

/// Memory becomes available when other requests and runs end.
impl From<OutOfMemory> for Error {
    fn from(error: OutOfMemory) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, "server", format!("{error}: try again"))
            .retry_after(MEMORY_RETRY)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        if let Some(after) = self.0.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The body of every error response.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorResponse {
    error: ErrorBody,
}

/// The error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// The reason phrase of the status, in `snake_case`.
    #[schema(example = "bad_request")]
    code: String,
    /// The reason phrase of the status.
    #[schema(example = "Bad Request")]
    message: String,
    /// What is wrong, by field, header or parameter.
    #[serde(skip_serializing_if = "FieldErrors::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>, required = false, example = json!({"input": "cannot be blank"}))]
    details: FieldErrors,
    /// The response's `x-request-id`.
    request_id: String,
}

macro_rules! responses {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {
        $(
            #[derive(ToResponse)]
            $(#[$meta])*
            #[expect(dead_code, reason = "describes a response in the OpenAPI document")]
            pub(crate) struct $name(ErrorResponse);
        )+
    };
}

responses! {
    #[response(description = "The request is invalid: `details` lists all errors, by field, header or parameter.")]
    BadRequest,
    #[response(
        description = "The `Authorization` header is missing or malformed, or the key is unknown, expired or revoked. On a public app: this needs a key.",
        headers(("WWW-Authenticate" = String, description = "`Bearer`"))
    )]
    Unauthorized,
    #[response(description = "The key is valid, but its scope does not cover the app.")]
    Forbidden,
    #[response(description = "No app is served on this host, or it has no such run.")]
    NotFound,
    #[response(description = "The body was not received in time: no data for 30 s, or less than 4 KiB/s on average.")]
    RequestTimeout,
    #[response(description = "The `Idempotency-Key` was used for another request.")]
    Conflict,
    #[response(description = "The body is larger than this server accepts; `details` has the limit and an alternative.")]
    PayloadTooLarge,
    #[response(description = "The content type is not `application/json` or `multipart/form-data`, or not supported by this route, or the body is compressed.")]
    UnsupportedMediaType,
    #[response(
        description = "A limit of the app is reached: concurrent runs, open streams or stored bytes; `details` says which.",
        headers(("Retry-After" = u64, description = "Seconds to wait before a retry."))
    )]
    TooManyRequests,
    #[response(description = "The server failed; it logged why under the request's id.")]
    InternalServerError,
    #[response(
        description = "The server is shutting down, is out of memory for requests and runs, or its store is unavailable. Whether anything was done is unknown: check, or repeat with the same `Idempotency-Key`.",
        headers(("Retry-After" = u64, description = "Seconds to wait before a retry."))
    )]
    ServiceUnavailable,
}
