//! Parses Server-Sent Events that arrive in chunks of any size.

use super::{Endpoint, LlmError};
use crate::egress::explain;
use reqwest::Response;

/// Size of a stream: about 250,000 pieces.
pub(super) const MAX_STREAM_BYTES: usize = 64 << 20;

/// Passes the data of each event to `add`, until that returns true or the stream ends.
pub(super) async fn each(
    endpoint: &Endpoint,
    mut response: Response,
    mut add: impl FnMut(&str) -> Result<bool, LlmError>,
) -> Result<(), LlmError> {
    let mut events = Events::default();
    let mut left = MAX_STREAM_BYTES;
    while let Some(bytes) = response.chunk().await.map_err(|error| LlmError::broken(explain(&error)))? {
        left = left.checked_sub(bytes.len()).ok_or_else(|| {
            let limit = MAX_STREAM_BYTES >> 20;
            LlmError::refused(format!("the stream of {} is longer than {limit} MiB", endpoint.provider))
        })?;
        let data = events.push(&bytes).ok_or_else(|| {
            LlmError::broken(format!("{} sent an event that is too long", endpoint.provider))
        })?;
        for data in data {
            if add(&data)? {
                return Ok(());
            }
        }
    }
    if let Some(data) = events.rest().filter(|data| !data.is_empty()) {
        add(&data)?;
    }
    Ok(())
}

/// The bytes of the next event so far.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: Vec<u8>,
    /// Number of bytes that were already searched for a line break.
    searched: usize,
}

/// Size of an event.
const MAX_EVENT_BYTES: usize = 8 << 20;

impl Events {
    /// Adds bytes, and returns the data of each complete line. `None` if an event is longer than [`MAX_EVENT_BYTES`].
    ///
    /// Providers write an event's data on one line, so a line is an event.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<Vec<String>> {
        self.buffer.extend_from_slice(bytes);
        let mut data = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let end = self.searched + length;
            let line = String::from_utf8_lossy(&self.buffer[start..end]);
            if let Some(text) = line.trim_end_matches('\r').strip_prefix("data:") {
                data.push(text.trim_start().to_owned());
            }
            start = end + 1;
            self.searched = start;
        }
        self.buffer.drain(..start);
        self.searched = self.buffer.len();
        (self.buffer.len() <= MAX_EVENT_BYTES).then_some(data)
    }

    /// The data of the last line, if the stream ended without a line break.
    pub(crate) fn rest(self) -> Option<String> {
        let line = String::from_utf8_lossy(&self.buffer).into_owned();
        Some(line.strip_prefix("data:")?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_chunks_of_any_size() {
        let text = ": hi\r\ndata: {\"a\":\"ü\"}\r\n\r\nevent: x\ndata:2\n\ndata: [DONE]";
        for size in 1..text.len() {
            let mut events = Events::default();
            let mut data = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                data.extend(events.push(piece).expect("within bounds"));
            }
            data.extend(events.rest());
            assert_eq!(data, ["{\"a\":\"ü\"}", "2", "[DONE]"], "pieces of {size}");
        }
    }
}
