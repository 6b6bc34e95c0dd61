//! An incremental parser of Server-Sent Events: bytes in, events out.

/// Parses a stream, however it is split into pieces.
#[derive(Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    id: Option<String>,
    data: String,
}

/// An event of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// `id:`, if present.
    pub(crate) id: Option<String>,
    /// The lines of `data:`, joined.
    pub(crate) data: String,
}

impl Parser {
    /// Adds a piece; returns the events that it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<Message> {
        self.buffer.extend_from_slice(piece);
        let mut messages = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[start..start + length]).into_owned();
            start += length + 1;
            messages.extend(self.line(line.strip_suffix('\r').unwrap_or(&line)));
        }
        self.buffer.drain(..start);
        messages
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let (id, data) = (self.id.take(), std::mem::take(&mut self.data));
            return (!data.is_empty()).then_some(Message { id, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // `event` is part of the data too; a line that begins with a colon is a heartbeat.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_events_are_parsed_however_the_stream_is_split() {
        let stream = ": heartbeat\n\nid: 1\nevent: run.started\ndata: {\"a\":\"ü\"}\n\n\
                      id: 2\r\nevent: x\r\ndata: one\r\ndata: two\r\n\r\nid: 3\ndata: cut off";
        let whole = Parser::default().push(stream.as_bytes());
        assert_eq!(
            whole,
            [
                Message { id: Some("1".into()), data: "{\"a\":\"ü\"}".into() },
                Message { id: Some("2".into()), data: "one\ntwo".into() },
            ]
        );
        for size in 1..12 {
            let mut parser = Parser::default();
            let cut: Vec<_> = stream.as_bytes().chunks(size).flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(cut, whole, "in pieces of {size}");
        }
    }
}
