//! Which app a request is for: by its host name.

use crate::{Api, error::Error};
use http::{header::HOST, request::Parts};
use runyard_runs::App;
use std::sync::Arc;

/// The app that answers on the request's host, and the host.
pub(crate) async fn of(api: &Api, parts: &Parts) -> Result<(Arc<App>, String), Error> {
    let host = host(parts);
    Ok((at(api, &host).await?, host))
}

/// The app that answers on this host.
pub(crate) async fn at(api: &Api, host: &str) -> Result<Arc<App>, Error> {
    api.apps.by_host(host).await?.ok_or_else(Error::no_app)
}

/// The host in lower case, without a port and a final dot; empty if the request names none.
fn host(parts: &Parts) -> String {
    // The target of the request, where it is absolute, stands above the header (RFC 9112, 3.2.2).
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
    fn a_host_is_taken_without_its_port() {
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
