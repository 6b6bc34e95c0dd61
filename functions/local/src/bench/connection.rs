//! One HTTP/1.1 connection of the load generator: it sends prepared bytes and parses as little as the figures need.
//!
//! The generator shares the machine's cores with the server that it measures, so its own work must cost little.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// How long to wait for a response, or for an event of a stream.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How the end of a response's body is found.
#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

/// A complete response.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// Of an event stream, the time until the first event.
    pub(crate) first_event: Option<Duration>,
}

impl Answer<'_> {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(self.body).context("the answer is not JSON")
    }
}

impl Connection {
    /// Connects to the server.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request, and reads the whole response.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        timeout(RESPONSE_TIMEOUT, self.exchange(request)).await.context("no answer within 30 s")?
    }

    /// Sends a request, and reads up to the first event. The connection cannot be used for another request.
    pub(crate) async fn open_stream(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (status, head, _) =
            timeout(RESPONSE_TIMEOUT, self.head()).await.context("no answer within 30 s")??;
        if status != 200 {
            bail!("the server answered {status}");
        }
        while find(&self.buffer[head..], b"\n\n").is_none() {
            timeout(RESPONSE_TIMEOUT, self.more()).await.context("no event within 30 s")??;
        }
        Ok(())
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        let started = Instant::now();
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (status, head, framing) = self.head().await?;
        let mut first_event = None;
        let end = match framing {
            Framing::Length(length) => {
                while self.buffer.len() < head + length {
                    self.more().await?;
                }
                head + length
            }
            Framing::Chunked => loop {
                let body = &self.buffer[head..];
                if first_event.is_none() && find(body, b"\n\n").is_some() {
                    first_event = Some(started.elapsed());
                }
                if body.ends_with(b"\r\n0\r\n\r\n") || body == b"0\r\n\r\n" {
                    break self.buffer.len();
                }
                self.more().await?;
            },
        };
        Ok(Answer { status, body: &self.buffer[head..end], first_event })
    }

    async fn head(&mut self) -> Result<(u16, usize, Framing)> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = std::str::from_utf8(&self.buffer[..end]).context("the response's head is not text")?;
        let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no HTTP response")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        Ok((status, end, length.map_or(Framing::Chunked, Framing::Length)))
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
