//! Refuses requests that hyper accepts but that a proxy may read differently: line breaks without a carriage return,
//! folded headers, a `Host` that is missing, repeated or malformed, and bodies with two lengths. Server and proxy could
//! take such bytes for different requests, or for different apps (RFC 9112, sections 2.2, 3.2, 5.2 and 6.3).
//!
//! The bytes of a connection are inspected as they arrive, before hyper reads them. An invalid line is overwritten with
//! unreadable bytes, so that hyper refuses the request, after it has answered earlier ones.

use std::mem;

/// Bytes of a line at most; hyper refuses shorter heads already.
const MAX_LINE: usize = 128 << 10;
/// A byte that no line of a valid request contains.
const UNREADABLE: u8 = 0;

/// Tracks what the next byte of a connection belongs to.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The part of the current line that arrived earlier.
    line: Vec<u8>,
    head: Head,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// In a body, with the number of bytes left.
    Body(u64),
    /// At a line with a chunk's size.
    Size,
    /// In a chunk, with the number of bytes left before its line break.
    Chunk(u64),
    /// At the line break after a chunk.
    ChunkEnd,
    Trailers,
    /// A request was invalid: no further one is read.
    Refused,
}

/// The head as far as it was read.
#[derive(Debug, Default)]
struct Head {
    started: bool,
    /// HTTP/1.1; hyper refuses everything else but 1.0.
    is_1_1: bool,
    /// The authority of an absolute target.
    authority: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
    length: Option<u64>,
    chunked: bool,
}

/// The line, header or framing is invalid.
struct Invalid;

impl Framing {
    /// Inspects bytes that have just arrived.
    pub(crate) fn look(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            match &mut self.state {
                State::Refused => return,
                State::Body(missing) | State::Chunk(missing) => {
                    let here = usize::try_from(*missing).unwrap_or(usize::MAX).min(left);
                    *missing -= here as u64;
                    at += here;
                    match self.state {
                        State::Body(0) => self.state = State::Head,
                        State::Chunk(0) => self.state = State::ChunkEnd,
                        _ => {}
                    }
                }
                _ => {
                    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end + 1);
                    let piece = &bytes[at..end.unwrap_or(bytes.len())];
                    let checked = match end {
                        None if self.line.len() + left > MAX_LINE => Err(Invalid),
                        None => {
                            self.line.extend_from_slice(piece);
                            return;
                        }
                        Some(_) if self.line.is_empty() => self.whole_line(piece),
                        Some(_) => {
                            let mut line = mem::take(&mut self.line);
                            line.extend_from_slice(piece);
                            self.whole_line(&line)
                        }
                    };
                    let end = end.unwrap_or(bytes.len());
                    if checked.is_err() {
                        self.state = State::Refused;
                        bytes[at..end].fill(UNREADABLE);
                        return;
                    }
                    at = end;
                }
            }
        }
    }

    /// Checks a line with its line break.
    fn whole_line(&mut self, line: &[u8]) -> Result<(), Invalid> {
        let line = line.strip_suffix(b"\r\n").ok_or(Invalid)?;
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\0')) {
            return Err(Invalid);
        }
        match self.state {
            State::Head if line.is_empty() && !self.head.started => {}
            State::Head if line.is_empty() => self.state = mem::take(&mut self.head).end()?,
            State::Head if !self.head.started => self.head.request_line(line),
            State::Head => self.head.header(line)?,
            State::Size => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailers,
                    size => State::Chunk(size),
                };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::Size,
            State::Trailers if line.is_empty() => self.state = State::Head,
            State::Trailers => drop(field(line)?),
            _ => return Err(Invalid),
        }
        Ok(())
    }
}

impl Head {
    /// Reads the request line; hyper refuses an invalid one.
    fn request_line(&mut self, line: &[u8]) {
        self.started = true;
        let mut words = line.split(|byte| *byte == b' ');
        let (target, version) = (words.nth(1).unwrap_or_default(), words.next().unwrap_or_default());
        self.is_1_1 = version == b"HTTP/1.1";
        let after_scheme = target.windows(3).position(|window| window == b"://").map(|at| &target[at + 3..]);
        if let Some(rest) = after_scheme.filter(|_| !target.starts_with(b"/")) {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            self.authority = Some(rest[..end.unwrap_or(rest.len())].to_ascii_lowercase());
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Invalid> {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() || !is_host(value) {
                return Err(Invalid);
            }
            self.host = Some(value.to_ascii_lowercase());
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err(Invalid);
            }
            let length = std::str::from_utf8(value).map_err(|_| Invalid)?;
            self.length = Some(length.parse().map_err(|_| Invalid)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !self.is_1_1 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Invalid);
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// The state after the head.
    fn end(self) -> Result<State, Invalid> {
        let agrees = match (&self.authority, &self.host) {
            (_, None) if self.is_1_1 => false,
            (Some(authority), Some(host)) => authority == host,
            _ => true,
        };
        match (agrees, self.chunked, self.length) {
            (false, ..) | (_, true, Some(_)) => Err(Invalid),
            (_, true, None) => Ok(State::Size),
            (_, _, Some(length)) if length > 0 => Ok(State::Body(length)),
            _ => Ok(State::Head),
        }
    }
}

/// A header's name and its value without surrounding white space.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Invalid> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Invalid)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || name.iter().any(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(Invalid);
    }
    Ok((name, value.trim_ascii()))
}

/// `HOST` or `HOST:PORT`, where the host is a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = if value.starts_with(b"[") {
        let Some(end) = value.iter().position(|byte| *byte == b']') else { return false };
        let address = std::str::from_utf8(&value[1..end]).unwrap_or_default();
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        value.split_at(end + 1)
    } else {
        let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        if end == 0 || !value[..end].iter().all(is_name) {
            return false;
        }
        value.split_at(end)
    };
    let is_port = |port: &[u8]| {
        port.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(port).is_ok_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
    };
    !host.is_empty() && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

fn chunk_size(line: &[u8]) -> Result<u64, Invalid> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let digits = line[..end].trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Invalid);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Invalid)?;
    u64::from_str_radix(digits, 16).map_err(|_| Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether these bytes pass unchanged, however they are split.
    fn is_accepted(text: &str) -> bool {
        let passes = |size: usize| {
            let mut framing = Framing::default();
            let mut through = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                let mut piece = piece.to_vec();
                framing.look(&mut piece);
                through.extend(piece);
            }
            let refused = framing.state == State::Refused;
            assert_eq!(refused, through != text.as_bytes(), "{text:?} in pieces of {size}");
            !refused
        };
        let whole = passes(text.len().max(1));
        assert!((1..text.len()).all(|size| passes(size) == whole), "{text:?} depends on how it is split");
        whole
    }

    #[test]
    fn valid_requests_pass() {
        for valid in [
            "GET / HTTP/1.1\r\nHost: a.localhost:8787\r\n\r\n",
            "\r\nGET /?u=http://other/ HTTP/1.1\r\nhost:\t127.0.0.1 \r\nX: a\tb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\nGET / HTTP/1.1\r\nHost: _x.y\r\n\r\n",
            "GET http://A.localhost:1/x HTTP/1.1\r\nHost: a.LOCALHOST:1\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na\nb\n\r\0d\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\n\n\n\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(is_accepted(valid), "{valid:?}");
        }
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        for ambiguous in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: ä\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http://a HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: b\n\n",
        ] {
            assert!(!is_accepted(ambiguous), "{ambiguous:?}");
        }
    }
}
