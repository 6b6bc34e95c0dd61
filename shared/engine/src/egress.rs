//! The only way to the network. Every connection is checked here.
//!
//! A workflow's author is not the operator: nodes cannot reach loopback, link-local, private or metadata addresses
//! unless the app's operator allows the host. A name is resolved once, every address is checked, and the connection is
//! made to one of the checked addresses. Redirects are checked in the same way.
//!
//! A request's headers and body are meant for its origin (scheme, host and port) only. A redirect to another origin is
//! followed without the request's headers, and not at all if it would carry a body or a secret there.

use crate::secrets::Secrets;
use reqwest::{
    Client, Method, Request, RequestBuilder, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, TRANSFER_ENCODING},
    redirect,
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::net::TcpStream;

const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without data after which a call is given up. The reference's client has the same timeout.
const READ_TIMEOUT: Duration = Duration::from_mins(10);

/// The addresses that an app's nodes may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Egress {
    /// Hosts that may resolve to any address; in lower case, without a port.
    pub(crate) allow_hosts: Vec<String>,
    /// Whether loopback addresses are allowed.
    pub(crate) allow_loopback: bool,
}

/// The network, with one egress policy. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Http {
    shared: Arc<Shared>,
    secrets: Arc<Secrets>,
}

struct Shared {
    egress: Arc<Egress>,
    /// Created on first use, because reading the certificates takes time.
    client: OnceLock<Result<Client, String>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("egress", &self.shared.egress).finish_non_exhaustive()
    }
}

/// Why a request to an origin is refused, or impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EgressError {
    #[error("{0} is not an HTTP or HTTPS URL")]
    Url(DisplayOrigin),
    #[error("{0} is not a public address; the app's operator can allow it with `allow_hosts`")]
    Address(String),
    #[error("cannot create the HTTP client: {0}")]
    Client(String),
}

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The request cannot be built from the given parts.
    #[error("{0}")]
    Request(String),
    /// The response redirects to a URL that the request may not follow.
    #[error("{0}")]
    Redirect(String),
    #[error("{0}")]
    Connection(String),
}

/// The part of a URL that may be shown: scheme, host and port. The rest may contain a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DisplayOrigin(String);

impl DisplayOrigin {
    pub(crate) fn of(url: &Url) -> Self {
        let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
        match (host, url.port()) {
            ("", _) => Self(format!("a URL with the scheme `{scheme}`")),
            (host, None) => Self(format!("{scheme}://{host}")),
            (host, Some(port)) => Self(format!("{scheme}://{host}:{port}")),
        }
    }

    /// Like [`DisplayOrigin::of`], for text that may not be a URL.
    pub(crate) fn of_text(text: &str) -> Self {
        Url::parse(text).map_or_else(|_| Self("the given text".to_owned()), |url| Self::of(&url))
    }
}

impl fmt::Display for DisplayOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Http {
    pub(crate) fn new(egress: Egress) -> Self {
        let shared = Arc::new(Shared { egress: Arc::new(egress), client: OnceLock::new() });
        Self { shared, secrets: Arc::default() }
    }

    /// This network for an app with these secrets.
    pub(crate) fn with_secrets(self, secrets: Arc<Secrets>) -> Self {
        Self { secrets, ..self }
    }

    /// The secrets to mask in responses and errors.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Opens a TCP connection to a host, for protocols other than HTTP.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = self.shared.egress.resolve(host, port).await?;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&*addresses)).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Returns the client and the checked URL. Send the request that you build with them by [`Http::send`].
    pub(crate) fn open(&self, url: &str) -> Result<(Client, Url), EgressError> {
        let url = Url::parse(url).map_err(|_| EgressError::Url(DisplayOrigin::of_text(url)))?;
        self.shared.egress.check_url(&url)?;
        let client = self.shared.client.get_or_init(|| build(&self.shared.egress));
        client.clone().map(|client| (client, url)).map_err(EgressError::Client)
    }

    /// Sends a request, and follows redirects. The client itself does not follow any.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, RequestError> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| RequestError::Request(explain(&error)))?;
        for _ in 0..=MAX_REDIRECTS {
            // Cheap: bodies are in memory and shared.
            let sent = request.try_clone();
            let response =
                client.execute(request).await.map_err(|error| RequestError::Connection(explain(&error)))?;
            let Some((sent, to)) = sent.zip(target(&response)) else { return Ok(response) };
            request = self.redirected(sent, response.status(), to)?;
        }
        Err(RequestError::Redirect(format!("the request was redirected more than {MAX_REDIRECTS} times")))
    }

    /// The request to send after `sent` was answered with a redirect.
    fn redirected(
        &self,
        mut sent: Request,
        status: StatusCode,
        mut to: Url,
    ) -> Result<Request, RequestError> {
        self.shared.egress.check_url(&to).map_err(|refused| RequestError::Redirect(refused.to_string()))?;
        let becomes_get = match status {
            StatusCode::SEE_OTHER => sent.method() != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => sent.method() == Method::POST,
            _ => false,
        };
        if becomes_get {
            *sent.method_mut() = Method::GET;
            *sent.body_mut() = None;
            for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
                sent.headers_mut().remove(name);
            }
        }
        if to.origin() != sent.url().origin() {
            let refused = |why: &str| {
                let (from, to) = (DisplayOrigin::of(sent.url()), DisplayOrigin::of(&to));
                RequestError::Redirect(format!("the redirect from {from} to another origin, {to}, {why}"))
            };
            if !matches!(*sent.method(), Method::GET | Method::HEAD) || sent.body().is_some() {
                return Err(refused("is not followed: it would send the request's body there"));
            }
            if self.secrets.occur_in(to.as_str()) {
                return Err(refused("is not followed: it would send a secret of the app there"));
            }
            *sent.headers_mut() = HeaderMap::new();
        }
        // A redirect must not set credentials.
        let _ = to.set_username("").and_then(|()| to.set_password(None));
        *sent.url_mut() = to;
        Ok(sent)
    }
}

/// The URL that a response redirects to, if it does.
fn target(response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    response.url().join(std::str::from_utf8(location.as_bytes()).ok()?).ok()
}

/// An error's causes, which say what went wrong; without the URL, which may contain a key.
pub(crate) fn explain(error: &reqwest::Error) -> String {
    let mut text = "the call failed".to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn build(egress: &Arc<Egress>) -> Result<Client, String> {
    // Fails if the process already has a provider; any provider works.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .dns_resolver(GuardedResolver(Arc::clone(egress)))
        .redirect(redirect::Policy::none())
        .referer(false)
        // Callers decide about retries; the client must not retry by itself.
        .retry(reqwest::retry::never().max_retries_per_request(0))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("runyard/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())
}

impl Egress {
    fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        is_public(address) || (self.allow_loopback && canonical(address).is_loopback())
    }

    /// The allowed addresses of a host, at least one.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((host, port)).await?;
        let is_host_allowed = self.allows_host(host);
        let allowed: Vec<SocketAddr> =
            found.filter(|address| is_host_allowed || self.allows_address(address.ip())).collect();
        if allowed.is_empty() {
            return Err(io::Error::other(EgressError::Address(host.to_owned())));
        }
        Ok(allowed)
    }

    /// Checks a URL, except for the addresses that its name resolves to: [`Egress::resolve`] checks those.
    fn check_url(&self, url: &Url) -> Result<(), EgressError> {
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let Some(host) = host else { return Err(EgressError::Url(DisplayOrigin::of(url))) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allows_host(host) && !self.allows_address(address) => {
                Err(EgressError::Address(host.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// The client's resolver, which returns only allowed addresses.
struct GuardedResolver(Arc<Egress>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.0);
        Box::pin(async move {
            let allowed = egress.resolve(name.as_str(), 0).await?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The IPv4 address that an IPv6 address embeds, if any; else the address itself.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some((high, low)),
        // NAT64 and 6to4 gateways forward these to the embedded IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some((high, low)),
        _ => None,
    };
    embedded.map_or(address, |(high, low)| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    })
}

/// Whether an address is on the public internet, by the registries of special addresses (RFC 6890 and later).
fn is_public(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, b, ..] => (64..128).contains(&b),
        [169, 254, ..] => true,
        [172, b, ..] => (16..32).contains(&b),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [192, 168, ..] => true,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [a, ..] => a >= 224,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is allocated. In it, the ranges for documentation, benchmarks and tunnels are not public.
    let [first, second, ..] = address.segments();
    let special = match (first, second) {
        (0x2001, 0x0db8) => true,
        (0x2001, second) => second < 0x0200,
        (0x3fff, second) => second < 0x1000,
        _ => false,
    };
    (0x2000..0x4000).contains(&first) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, egress: &Egress) -> Result<(), EgressError> {
        Http::new(egress.clone()).open(url).map(drop)
    }

    #[test]
    fn refuses_special_addresses_and_other_schemes() {
        let closed = Egress::default();
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://10.0.0.1/",
            "http://172.31.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[2002:7f00:1::]/",
            "http://255.255.255.255/",
            "http://[ff02::1]/",
        ] {
            assert!(matches!(open(url, &closed), Err(EgressError::Address(_))), "{url}");
        }
        for url in ["file:///etc/passwd", "ftp://example.com/", "not a url", "data:text/plain,x"] {
            assert!(matches!(open(url, &closed), Err(EgressError::Url(_))), "{url}");
        }
        for url in
            ["https://1.1.1.1/", "https://[2606:4700::1111]/", "https://example.com/", "http://172.32.0.1/"]
        {
            assert_eq!(open(url, &closed), Ok(()), "{url}");
        }
    }

    #[test]
    fn allows_what_the_operator_allows() {
        let dev = Egress { allow_loopback: true, ..Egress::default() };
        assert_eq!(open("http://127.0.0.1:1/", &dev), Ok(()));
        assert_eq!(open("http://[::1]/", &dev), Ok(()));
        assert!(open("http://169.254.169.254/", &dev).is_err());
        let host = Egress { allow_hosts: vec!["10.1.2.3".into()], allow_loopback: false };
        assert_eq!(open("http://10.1.2.3:9/", &host), Ok(()));
        assert!(open("http://10.1.2.4/", &host).is_err());
    }

    #[tokio::test]
    async fn checks_the_addresses_that_a_name_resolves_to() {
        let (client, url) =
            Http::new(Egress::default()).open("http://localhost:9/").expect("a name is allowed");
        let error = client.get(url).send().await.expect_err("its address is refused");
        let mut text = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(text.contains("not a public address"), "{text}");
    }

    #[tokio::test]
    async fn checks_the_addresses_of_tcp_connections() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        for host in ["127.0.0.1", "localhost"] {
            let refused = Http::new(Egress::default()).connect(host, port).await.expect_err(host);
            assert!(refused.to_string().contains("not a public address"), "{refused}");
            let dev = Egress { allow_loopback: true, ..Egress::default() };
            Http::new(dev).connect(host, port).await.expect(host);
        }
    }
}
