//! The one way to the network, with a guard at its gate.
//!
//! A workflow's author is not the operator: what nodes call may not reach loopback, link-local, private or metadata
//! addresses unless the app's operator allows the host. A name is resolved once, every address is checked, and the
//! connection is made to one of those very addresses; redirects go the same way.
//!
//! What a caller sends belongs to the origin that it is sent to (scheme, host and port). A redirect to another origin is
//! followed without any of the caller's headers, and not at all if it would carry a body or a secret there.

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
/// Silence after which a call is given up; the reference's client waits as long.
const READ_TIMEOUT: Duration = Duration::from_mins(10);

/// Where an app's nodes may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Egress {
    /// Hosts, in lower case and without a port, that may have any address.
    pub(crate) allow_hosts: Vec<String>,
    /// Whether loopback addresses are open.
    pub(crate) allow_loopback: bool,
}

/// The network, as some apps may use it. Cheap to clone; the connections are shared.
#[derive(Clone)]
pub(crate) struct Http {
    shared: Arc<Shared>,
    secrets: Arc<Secrets>,
}

struct Shared {
    egress: Arc<Egress>,
    /// Made on first use: reading the certificates takes time.
    client: OnceLock<Result<Client, String>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("egress", &self.shared.egress).finish_non_exhaustive()
    }
}

/// Why nothing may be, or can be, sent to a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0} is no http or https URL")]
    Url(Place),
    #[error("{0} is not a public address; the app's operator can allow it with `allow_hosts`")]
    Address(String),
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The request cannot be made of what was given.
    #[error("{0}")]
    Request(String),
    /// The answer leads to a place where the request may not go.
    #[error("{0}")]
    Redirect(String),
    #[error("{0}")]
    Connection(String),
}

/// As much of a URL as may be shown: scheme, host and port. The rest may hold a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn of(url: &Url) -> Self {
        let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
        match (host, url.port()) {
            ("", _) => Self(format!("a URL with the scheme `{scheme}`")),
            (host, None) => Self(format!("{scheme}://{host}")),
            (host, Some(port)) => Self(format!("{scheme}://{host}:{port}")),
        }
    }

    /// The same for what may be no URL at all.
    pub(crate) fn of_text(text: &str) -> Self {
        Url::parse(text).map_or_else(|_| Self("the given text".to_owned()), |url| Self::of(&url))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Http {
    pub(crate) fn new(egress: Egress) -> Self {
        let shared = Arc::new(Shared { egress: Arc::new(egress), client: OnceLock::new() });
        Self { shared, secrets: Arc::default() }
    }

    /// The same, for an app with these secrets.
    pub(crate) fn with_secrets(self, secrets: Arc<Secrets>) -> Self {
        Self { secrets, ..self }
    }

    /// What answers may not bring back, and errors may not show.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A connection to a host, for what does not speak HTTP.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = self.shared.egress.resolve(host, port).await?;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&*addresses)).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The client, and the URL that was checked. What is made with it goes to [`Http::send`].
    pub(crate) fn open(&self, url: &str) -> Result<(Client, Url), Refused> {
        let url = Url::parse(url).map_err(|_| Refused::Url(Place::of_text(url)))?;
        self.shared.egress.check_url(&url)?;
        let client = self.shared.client.get_or_init(|| build(&self.shared.egress));
        client.clone().map(|client| (client, url)).map_err(Refused::Client)
    }

    /// Sends a request, and follows redirects. The client itself follows none.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Unanswered> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| Unanswered::Request(explain(&error)))?;
        for _ in 0..=MAX_REDIRECTS {
            // Bodies are in memory, so this shares them.
            let sent = request.try_clone();
            let response =
                client.execute(request).await.map_err(|error| Unanswered::Connection(explain(&error)))?;
            let Some((sent, to)) = sent.zip(target(&response)) else { return Ok(response) };
            request = self.redirected(sent, response.status(), to)?;
        }
        Err(Unanswered::Redirect(format!("it was redirected more than {MAX_REDIRECTS} times")))
    }

    /// The request that follows `sent`, once that was answered with a redirect.
    fn redirected(&self, mut sent: Request, status: StatusCode, mut to: Url) -> Result<Request, Unanswered> {
        self.shared.egress.check_url(&to).map_err(|refused| Unanswered::Redirect(refused.to_string()))?;
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
                let (from, to) = (Place::of(sent.url()), Place::of(&to));
                Unanswered::Redirect(format!("the redirect from {from} to another origin, {to}, {why}"))
            };
            if !matches!(*sent.method(), Method::GET | Method::HEAD) || sent.body().is_some() {
                return Err(refused("is not followed: it would take the request's body there"));
            }
            if self.secrets.occur_in(to.as_str()) {
                return Err(refused("is not followed: it would take a secret of the app there"));
            }
            *sent.headers_mut() = HeaderMap::new();
        }
        // Whoever redirects has no say in who the caller is.
        let _ = to.set_username("").and_then(|()| to.set_password(None));
        *sent.url_mut() = to;
        Ok(sent)
    }
}

/// Where an answer redirects to, if it does.
fn target(response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    response.url().join(std::str::from_utf8(location.as_bytes()).ok()?).ok()
}

/// An error with its causes, which alone say what went wrong; without the URL, which may hold a key.
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
    // Somebody else may have chosen the provider of the process already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .dns_resolver(Guarded(Arc::clone(egress)))
        .redirect(redirect::Policy::none())
        .referer(false)
        // Who calls decides what is called again: nothing is kept for the client to repeat.
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

    /// The addresses of a host that may be reached: at least one.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((host, port)).await?;
        let may_be_any = self.allows_host(host);
        let allowed: Vec<SocketAddr> =
            found.filter(|address| may_be_any || self.allows_address(address.ip())).collect();
        if allowed.is_empty() {
            return Err(io::Error::other(Refused::Address(host.to_owned())));
        }
        Ok(allowed)
    }

    /// Checks all of a URL but the addresses that its name has; those the resolver checks.
    fn check_url(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let Some(host) = host else { return Err(Refused::Url(Place::of(url))) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allows_host(host) && !self.allows_address(address) => {
                Err(Refused::Address(host.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Resolves names for the client to the addresses that may be reached.
struct Guarded(Arc<Egress>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.0);
        Box::pin(async move {
            let allowed = egress.resolve(name.as_str(), 0).await?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The IPv4 address that an IPv6 address stands for, if it stands for one.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some((high, low)),
        // NAT64 and 6to4 gateways send these on to the IPv4 address within.
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

/// Whether an address is one of the public internet (the registries of special addresses, RFC 6890 and later).
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
    // Only 2000::/3 is given out; of it, the parts for documentation, benchmarks and tunnels are not public.
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

    fn open(url: &str, egress: &Egress) -> Result<(), Refused> {
        Http::new(egress.clone()).open(url).map(drop)
    }

    #[test]
    fn addresses() {
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
            assert!(matches!(open(url, &closed), Err(Refused::Address(_))), "{url}");
        }
        for url in ["file:///etc/passwd", "ftp://example.com/", "not a url", "data:text/plain,x"] {
            assert!(matches!(open(url, &closed), Err(Refused::Url(_))), "{url}");
        }
        for url in
            ["https://1.1.1.1/", "https://[2606:4700::1111]/", "https://example.com/", "http://172.32.0.1/"]
        {
            assert_eq!(open(url, &closed), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_the_operator_allows() {
        let dev = Egress { allow_loopback: true, ..Egress::default() };
        assert_eq!(open("http://127.0.0.1:1/", &dev), Ok(()));
        assert_eq!(open("http://[::1]/", &dev), Ok(()));
        assert!(open("http://169.254.169.254/", &dev).is_err());
        let host = Egress { allow_hosts: vec!["10.1.2.3".into()], allow_loopback: false };
        assert_eq!(open("http://10.1.2.3:9/", &host), Ok(()));
        assert!(open("http://10.1.2.4/", &host).is_err());
    }

    /// What a resolver gives for a name is checked, not the name.
    #[tokio::test]
    async fn names() {
        let (client, url) = Http::new(Egress::default()).open("http://localhost:9/").expect("a name is open");
        let error = client.get(url).send().await.expect_err("its address is not");
        let mut text = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(text.contains("not a public address"), "{text}");
    }

    #[tokio::test]
    async fn connections() {
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
