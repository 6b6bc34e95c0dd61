//! The load: connections that each repeat a request as soon as it is answered.

use super::connection::Connection;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::{task::LocalSet, time::Instant};

/// A prepared request.
#[derive(Clone)]
pub(super) struct Request {
    /// The bytes on the wire.
    pub(super) bytes: Arc<[u8]>,
    /// A text that the body of a successful response contains.
    pub(super) expect: &'static str,
    /// Measure the time to the first event of the stream, instead of to its end.
    pub(super) first_event: bool,
}

impl Request {
    /// A request to the app at `host`, with or without a JSON body.
    pub(super) fn new(
        method: &str,
        path: &str,
        host: &str,
        key: &str,
        headers: &str,
        body: Option<&Value>,
        expect: &'static str,
    ) -> Self {
        let body = body.map(Value::to_string).unwrap_or_default();
        let content = if body.is_empty() {
            String::new()
        } else {
            format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
        };
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n{headers}{content}\r\n{body}"
        );
        Self { bytes: text.into_bytes().into(), expect, first_event: false }
    }
}

/// When a measurement ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After this time.
    Time(Duration),
    /// After this many requests.
    Requests(u64),
}

/// The figures of one measurement.
pub(super) struct Figures {
    pub(super) connections: usize,
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// The first error.
    pub(super) error: Option<String>,
    pub(super) took: Duration,
    /// Latencies in microseconds.
    pub(super) latency: Histogram<u64>,
}

impl Figures {
    fn add(&mut self, sent: Result<u64>) {
        match sent {
            Ok(latency) => {
                self.requests += 1;
                self.latency.saturating_record(latency);
            }
            Err(error) => {
                self.errors += 1;
                self.error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    /// A quantile of the latency, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "no latency here comes near 2^52 µs")]
    pub(super) fn millis(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
    pub(super) fn per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "connections": self.connections,
            "requests": self.requests,
            "errors": self.errors,
            "error": self.error,
            "seconds": self.took.as_secs_f64(),
            "p50_ms": self.millis(0.5),
            "p90_ms": self.millis(0.9),
            "p99_ms": self.millis(0.99),
            "max_ms": self.millis(1.0),
            "per_second": self.per_second().round(),
        })
    }
}

/// Puts load on a server, from a single separate thread, which takes at most one core.
pub(super) async fn drive(
    address: SocketAddr,
    request: Request,
    connections: usize,
    until: Until,
) -> Result<Figures> {
    on_one_thread(move || drive_here(address, request, connections, until)).await
}

/// The longest latency that is recorded, in microseconds: ten minutes.
pub(super) const LONGEST: u64 = 600_000_000;

/// Executes the future of `make` on a separate thread with its own runtime.
pub(super) async fn on_one_thread<T: Send + 'static, F: Future<Output = Result<T>>>(
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, make())
    })
    .await
    .context("the load generator panicked")?
}

async fn drive_here(
    address: SocketAddr,
    request: Request,
    connections: usize,
    until: Until,
) -> Result<Figures> {
    let started = Instant::now();
    let figures = Rc::new(RefCell::new(Figures {
        connections,
        requests: 0,
        errors: 0,
        error: None,
        took: Duration::ZERO,
        latency: Histogram::new_with_max(LONGEST, 3).context("no histogram")?,
    }));
    let left = Rc::new(RefCell::new(match until {
        Until::Time(_) => u64::MAX,
        Until::Requests(requests) => requests,
    }));
    let deadline = match until {
        Until::Time(time) => Some(started + time),
        Until::Requests(_) => None,
    };
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (figures, left, request) = (Rc::clone(&figures), Rc::clone(&left), request.clone());
            tokio::task::spawn_local(async move {
                let mut connection = None;
                while deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    {
                        let mut left = left.borrow_mut();
                        if *left == 0 {
                            break;
                        }
                        *left -= 1;
                    }
                    let sent = once(&mut connection, address, &request).await;
                    let failed = sent.is_err();
                    figures.borrow_mut().add(sent);
                    if failed {
                        connection = None;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.context("a connection panicked")?;
    }
    let took = started.elapsed();
    let mut figures = Rc::into_inner(figures).context("a connection is left")?.into_inner();
    figures.took = took;
    Ok(figures)
}

/// Sends the request once; returns the latency in microseconds.
async fn once(connection: &mut Option<Connection>, address: SocketAddr, request: &Request) -> Result<u64> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(Connection::open(address).await?),
    };
    let started = Instant::now();
    let answer = connection.send(&request.bytes).await?;
    let whole = started.elapsed();
    let expected = request.expect.as_bytes();
    if answer.status >= 300 || !answer.body.windows(expected.len()).any(|window| window == expected) {
        let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]);
        anyhow::bail!("the server answered {} {body}", answer.status);
    }
    let latency = if request.first_event { answer.first_event.context("no event received")? } else { whole };
    Ok(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))
}
