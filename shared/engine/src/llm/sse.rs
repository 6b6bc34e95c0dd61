//! Takes Server-Sent Events apart, however the network cut them.

use super::{Endpoint, LlmError};
use crate::egress::explain;
use reqwest::Response;

/// The most that a stream may hold, in bytes: some 250,000 pieces.
pub(super) const MAX_STREAM: usize = 64 << 20;

/// Gives the data of each event to `add`, until it says that this was the last or the stream ends.
pub(super) async fn each(
    endpoint: &Endpoint,
    mut response: Response,
    mut add: impl FnMut(&str) -> Result<bool, LlmError>,
) -> Result<(), LlmError> {
    let mut events = Events::default();
    let mut left = MAX_STREAM;
    while let Some(bytes) = response.chunk().await.map_err(|error| LlmError::broken(explain(&error)))? {
        left = left.checked_sub(bytes.len()).ok_or_else(|| {
            let most = MAX_STREAM >> 20;
            LlmError::refused(format!("the stream of {} is longer than {most} MiB", endpoint.provider))
        })?;
        let data = events
            .push(&bytes)
            .ok_or_else(|| LlmError::broken(format!("{} sends no events", endpoint.provider)))?;
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

/// What has come so far of the next event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: Vec<u8>,
    /// Where in the buffer no line break was looked for yet.
    unseen: usize,
}

/// A provider that sends so much without ending an event is not understood.
const MAX_EVENT: usize = 8 << 20;

impl Events {
    /// Adds bytes, and gives the data of each line that is complete. `None` if an event grows without bound.
    ///
    /// Providers put an event's data on one line, so a line is an event.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<Vec<String>> {
        self.buffer.extend_from_slice(bytes);
        let mut data = Vec::new();
        let mut begin = 0;
        while let Some(length) = self.buffer[self.unseen..].iter().position(|byte| *byte == b'\n') {
            let end = self.unseen + length;
            let line = String::from_utf8_lossy(&self.buffer[begin..end]);
            if let Some(text) = line.trim_end_matches('\r').strip_prefix("data:") {
                data.push(text.trim_start().to_owned());
            }
            begin = end + 1;
            self.unseen = begin;
        }
        self.buffer.drain(..begin);
        self.unseen = self.buffer.len();
        (self.buffer.len() <= MAX_EVENT).then_some(data)
    }

    /// What was left when the stream ended without a line break.
    pub(crate) fn rest(self) -> Option<String> {
        let line = String::from_utf8_lossy(&self.buffer).into_owned();
        Some(line.strip_prefix("data:")?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_anywhere() {
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
