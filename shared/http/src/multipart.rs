//! Parses `multipart/form-data` (RFC 7578) as a stream: it holds one piece of the body, however large the body is.
//!
//! Safe for hostile input: the headers of a part are limited, every byte is searched once, and the body is read only as
//! far as its parts are requested.

use crate::{body::Pieces, error::Error};
use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

/// Bytes of one part's headers.
const HEADER_BYTES: usize = 8 << 10;
/// Parts of one request.
const PARTS: usize = 1000;
/// Bytes before the first boundary; ordinary clients send none.
const PREAMBLE_BYTES: usize = 64 << 10;

/// A request body, read part by part.
pub(crate) struct Multipart {
    pieces: Pieces,
    /// Bytes that were read but not returned yet. At most one piece of the body and [`HEADER_BYTES`].
    buffer: BytesMut,
    /// `\r\n--boundary`.
    delimiter: Finder<'static>,
    at: Position,
    parts: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Position {
    /// In the preamble, or in the content of a part.
    Content,
    /// After a delimiter.
    Delimiter,
    /// After the last part.
    End,
}

/// The headers of a part.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// The name of the field.
    pub(crate) name: String,
    /// The name of the file, without a path.
    pub(crate) file_name: Option<String>,
    /// The media type.
    pub(crate) mime_type: Option<String>,
}

impl Multipart {
    pub(crate) fn new(pieces: Pieces, boundary: &str) -> Self {
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        // The first boundary may be at the start of the body, without the line break before the others.
        Self { pieces, buffer: BytesMut::from(&b"\r\n"[..]), delimiter, at: Position::Content, parts: 0 }
    }

    /// Returns the next part; skips the rest of the previous one.
    pub(crate) async fn part(&mut self) -> Result<Option<Part>, Error> {
        let mut skipped = 0;
        while let Some(piece) = self.content().await? {
            skipped += piece.len();
            if self.parts == 0 && skipped > PREAMBLE_BYTES {
                return Err(broken("no boundary at its start"));
            }
        }
        if self.at == Position::End || self.ends().await? {
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > PARTS {
            return Err(Error::bad("body", format!("has more than {PARTS} parts")));
        }
        let headers = self.headers().await?;
        self.at = Position::Content;
        Part::parse(&headers).map(Some)
    }

    /// Returns the next piece of the part's content; `None` at its end.
    pub(crate) async fn content(&mut self) -> Result<Option<Bytes>, Error> {
        if self.at != Position::Content {
            return Ok(None);
        }
        let length = self.delimiter.needle().len();
        loop {
            if let Some(found) = self.delimiter.find(&self.buffer) {
                if found > 0 {
                    return Ok(Some(self.buffer.split_to(found).freeze()));
                }
                let _ = self.buffer.split_to(length);
                self.at = Position::Delimiter;
                return Ok(None);
            }
            // The end of the buffer may be the start of a delimiter.
            if self.buffer.len() >= length {
                let safe = self.buffer.len() - (length - 1);
                return Ok(Some(self.buffer.split_to(safe).freeze()));
            }
            self.read().await?;
        }
    }

    /// Returns `refusal`, after the client had time to send the rest.
    pub(crate) async fn refused(&mut self, refusal: Error) -> Error {
        self.pieces.refused(refusal).await
    }

    /// Returns whether the delimiter is the last one. Bytes after that are not read.
    async fn ends(&mut self) -> Result<bool, Error> {
        loop {
            let padding = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            match &self.buffer[padding..] {
                _ if padding >= HEADER_BYTES => {
                    return Err(broken("a boundary is followed by too many blanks"));
                }
                [b'-', b'-', ..] if padding == 0 => {
                    self.at = Position::End;
                    return Ok(true);
                }
                [b'\r', b'\n', ..] => {
                    let _ = self.buffer.split_to(padding);
                    return Ok(false);
                }
                [] | [b'-' | b'\r'] => self.read().await?,
                _ => return Err(broken("a boundary is followed by neither a line break nor `--`")),
            }
        }
    }

    /// Returns the headers of a part, between the line break of the boundary and the empty line.
    async fn headers(&mut self) -> Result<Bytes, Error> {
        const END: &[u8] = b"\r\n\r\n";
        let mut searched = 0;
        loop {
            if let Some(found) = memchr::memmem::find(&self.buffer[searched..], END) {
                let end = searched + found;
                if end > HEADER_BYTES {
                    break;
                }
                let headers = self.buffer.split_to(end).freeze();
                let _ = self.buffer.split_to(END.len());
                return Ok(headers);
            }
            // However the body is cut: what ends the headers may have come in part.
            if self.buffer.len() >= HEADER_BYTES + END.len() {
                break;
            }
            searched = self.buffer.len().saturating_sub(END.len() - 1);
            self.read().await?;
        }
        Err(Error::bad("body", format!("a part has more than {} KiB of headers", HEADER_BYTES >> 10)))
    }

    async fn read(&mut self) -> Result<(), Error> {
        let piece = self.pieces.next().await?.ok_or_else(|| broken("it ends before its last boundary"))?;
        self.buffer.extend_from_slice(&piece);
        Ok(())
    }
}

fn broken(problem: &str) -> Error {
    Error::bad("body", format!("is not valid multipart/form-data: {problem}"))
}

impl Part {
    fn parse(headers: &[u8]) -> Result<Self, Error> {
        let headers = String::from_utf8_lossy(headers);
        let mut part = Self::default();
        let mut named = false;
        for line in headers.split("\r\n").filter(|line| !line.is_empty()) {
            let (header, value) =
                line.split_once(':').ok_or_else(|| broken("a header of a part has no colon"))?;
            let value = value.trim();
            if header.trim().eq_ignore_ascii_case("content-type") {
                part.mime_type = Some(value).filter(|value| is_media_type(value)).map(str::to_owned);
            } else if header.trim().eq_ignore_ascii_case("content-disposition") {
                let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
                if !kind.trim().eq_ignore_ascii_case("form-data") {
                    return Err(broken("a part is not form-data"));
                }
                for (name, value) in Parameters(parameters) {
                    match name.to_ascii_lowercase().as_str() {
                        "name" => (part.name, named) = (value, true),
                        "filename" => part.file_name = part.file_name.or_else(|| base_name(&value)),
                        // RFC 5987; overrides the plain one, which then has a substitute.
                        "filename*" => part.file_name = extended(&value).or(part.file_name),
                        _ => {}
                    }
                }
            }
        }
        if named { Ok(part) } else { Err(broken("a part has no name")) }
    }
}

/// `; name=value; name="value"`, where `\"` and `\\` in quotes are escapes of the second character.
struct Parameters<'a>(&'a str);

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.trim_start_matches([' ', '\t', ';']).split_once('=')?;
        let mut value = String::new();
        let mut end = rest.len();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut chars = quoted.char_indices().peekable();
            while let Some((index, char)) = chars.next() {
                match char {
                    '"' => {
                        end = index + 2;
                        break;
                    }
                    '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                        Some((_, escaped)) => value.push(escaped),
                        // Old browsers send Windows paths unescaped.
                        None => value.push('\\'),
                    },
                    char => value.push(char),
                }
            }
        } else {
            end = rest.find(';').unwrap_or(rest.len());
            rest[..end].trim_end().clone_into(&mut value);
        }
        self.0 = &rest[end.min(rest.len())..];
        Some((name.trim().to_owned(), value))
    }
}

/// Returns the last segment of a path, without control characters.
fn base_name(path: &str) -> Option<String> {
    let name: String = path.rsplit(['/', '\\']).next()?.chars().filter(|char| !char.is_control()).collect();
    let name = name.trim();
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

/// Decodes an extended value (RFC 5987), such as `UTF-8''na%C3%AFve.txt`.
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            bytes.push(u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    base_name(&String::from_utf8(bytes).ok()?)
}

/// Returns whether this is `type/subtype`, optionally with parameters: anything else is not a valid header value later.
fn is_media_type(text: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    text.len() <= 255
        && text.bytes().all(visible)
        && text.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Multipart, Part, Pieces};
    use crate::Config;
    use axum::body::Body;
    use bytes::Bytes;
    use futures::stream;
    use http::HeaderMap;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// Returns the parts of `body`, which arrives in pieces of `size` bytes, or the error.
    fn parse(body: &[u8], size: usize) -> Result<Vec<(Part, Vec<u8>)>, String> {
        let pieces: Vec<_> =
            body.chunks(size).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
        let body = Body::from_stream(stream::iter(pieces));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let pieces = Pieces::of_multipart(&HeaderMap::new(), body, &Config::default());
            let mut multipart = Multipart::new(pieces, "B");
            let mut parts = Vec::new();
            while let Some(part) = multipart.part().await.map_err(|error| format!("{error:?}"))? {
                let mut content = Vec::new();
                while let Some(piece) = multipart.content().await.map_err(|error| format!("{error:?}"))? {
                    content.extend_from_slice(&piece);
                }
                parts.push((part, content));
            }
            Ok(parts)
        })
    }

    fn part(name: &str, file_name: Option<&str>, mime_type: Option<&str>) -> Part {
        Part {
            name: name.to_owned(),
            file_name: file_name.map(str::to_owned),
            mime_type: mime_type.map(str::to_owned),
        }
    }

    #[test]
    fn parts_do_not_depend_on_the_pieces_of_the_body() {
        let body = b"--B\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n\r\n--B  \r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=files; \
            filename=\"C:\\up\\a \\\"b\\\";c.txt\"\r\n\r\nline\r\n--b\r\n--\r\n--B\r\n\
            Content-Disposition: form-data; filename=\"x\"; filename*=UTF-8\'\'na%C3%AFve.txt; name=\"f\"\r\n\r\n\
            \r\n\r\n--B--\r\nepilogue";
        let expected = vec![
            (part("a", None, None), Vec::new()),
            (
                part("files", Some("a \"b\";c.txt"), Some("text/plain; charset=utf-8")),
                b"line\r\n--b\r\n--".to_vec(),
            ),
            (part("f", Some("na\u{ef}ve.txt"), None), b"\r\n".to_vec()),
        ];
        for size in 1..body.len() {
            assert_eq!(parse(body, size).unwrap(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn malformed_multipart_is_refused() {
        let disposition = "Content-Disposition: form-data; name=a";
        for body in [
            String::new(),
            "--B".into(),
            "--B\r\n".into(),
            "no boundary at all".into(),
            format!("--B\r\n{disposition}\r\n\r\nno end"),
            format!("--B\r\n{disposition}\r\n\r\nx\r\n--B"),
            format!("--Bx\r\n{disposition}\r\n\r\nx\r\n--B--"),
            "--B\r\n\r\nx\r\n--B--".into(),
            "--B\r\nno colon\r\n\r\nx\r\n--B--".into(),
            "--B\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--B--".into(),
            format!("--B\r\nX: {}\r\n{disposition}\r\n\r\nx\r\n--B--", "x".repeat(9000)),
            format!("--B\r\nX: {}", "x".repeat(1 << 20)),
            "x".repeat(1 << 20),
            format!("--B{}", " ".repeat(1 << 20)),
            format!("{}--B--", format!("--B\r\n{disposition}\r\n\r\nx\r\n").repeat(1001)),
        ] {
            for size in [1000, 1 << 20] {
                let start: String = body.chars().take(60).collect();
                assert!(parse(body.as_bytes(), size).is_err(), "{start:?} in pieces of {size}");
            }
        }
        assert_eq!(parse(b"--B--", 1).unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_content_is_parsed(content in proptest::collection::vec(prop_oneof!["\r", "\n", "-", "B", "x"], 0..40), size in 1_usize..50) {
            let content = content.concat();
            prop_assume!(!format!("{content}\r\n").contains("\r\n--B"));
            let body = format!("--B\r\nContent-Disposition: form-data; name=a\r\n\r\n{content}\r\n--B--");
            let parts = parse(body.as_bytes(), size).unwrap();
            prop_assert_eq!(parts, vec![(part("a", None, None), content.into_bytes())]);
        }
    }
}
