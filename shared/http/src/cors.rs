//! CORS: which pages may call from a browser. Keys are sent in a header, never in a cookie, so credentials are not allowed.

use axum::{extract::Request, response::Response};
use http::{
    HeaderMap, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

const METHODS: &str = "GET, HEAD, POST, DELETE";
const REQUEST_HEADERS: &str =
    "authorization, content-type, idempotency-key, last-event-id, prefer, x-request-id";
const RESPONSE_HEADERS: &str =
    "idempotency-replayed, location, preference-applied, retry-after, www-authenticate, x-request-id";

/// Returns whether this is a CORS preflight request.
pub(crate) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Returns the value of `Access-Control-Allow-Origin` if the request's origin is allowed.
pub(crate) fn allowed(origins: &[HeaderValue], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    origins.iter().find(|allowed| *allowed == "*" || *allowed == origin).cloned()
}

/// Allows the page to read the response, and after a preflight to send the request.
pub(crate) fn allow(response: &mut Response, origin: HeaderValue, preflight: bool) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    } else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
    }
}

/// Tells caches that the response depends on the origin.
pub(crate) fn vary(response: &mut Response) {
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
}
