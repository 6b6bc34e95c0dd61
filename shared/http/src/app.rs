//! Selects the app that a request is for by its host name.

use crate::{Api, error::Error};
use http::{header::HOST, request::Parts};
use runyard_runs::App;
use std::sync::Arc;

/// Returns the app that is served on the request's host, and the host.
pub(crate) async fn of(api: &Api, parts: &Parts) -> Result<(Arc<App>, String), Error> {
    let host = host(parts);
    Ok((at(api, &host).await?, host))
}

/// Returns the app that is served on this host.
pub(crate) async fn at(api: &Api, host: &str) -> Result<Arc<App>, Error> {
    api.apps.by_host(host).await?.ok_or_else(Error::no_app)
}

/// Returns the host in lower case, without port and trailing dot; empty if the request has none.
fn host(parts: &Parts) -> String {
    // An absolute request target overrides the header (RFC 9112, 3.2.2).
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_has_no_port() {
        let of = |uri: &str, header: Option<&str>| {
            let mut request = http::Request::builder().uri(uri);
            if let Some(header) = header {
                request = request.header("host", header);
            }
            host(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(of("/", Some("Echo.LocalHost:8787")), "echo.localhost");
        assert_eq!(of("/", Some("echo.example.")), "echo.example");
        assert_eq!(of("/", Some("[::1]:8787")), "[::1]");
        assert_eq!(of("/", Some("[::1]")), "[::1]");
        assert_eq!(of("http://a.example:80/x", Some("b.example")), "a.example");
        assert_eq!(of("/", None), "");
    }
}
