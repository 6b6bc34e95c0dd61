//! Trims a text that arrives in pieces.

/// Passes on a text without the white space at its start and end. Holds back white space until more text follows.
#[derive(Debug, Default)]
pub(super) struct Section {
    started: bool,
    /// White space that may be at the end of the text.
    held: String,
}

impl Section {
    /// Takes the next piece, and returns the text that can be passed on.
    pub(super) fn feed(&mut self, piece: &str) -> Option<String> {
        let piece = if self.started { piece } else { piece.trim_start() };
        let text = piece.trim_end();
        if text.is_empty() {
            if self.started {
                self.held.push_str(piece);
            }
            return None;
        }
        self.started = true;
        let mut ready = std::mem::take(&mut self.held);
        ready.push_str(text);
        self.held.push_str(&piece[text.len()..]);
        Some(ready)
    }
}

/// Bytes at the end of `text` that may be the start of one of `markers`.
pub(super) fn pending(text: &str, markers: &[&str]) -> usize {
    markers
        .iter()
        .flat_map(|marker| {
            (1..marker.len()).rev().filter(|length| marker.is_char_boundary(*length)).map(|l| &marker[..l])
        })
        .filter(|start| text.ends_with(start))
        .map(str::len)
        .max()
        .unwrap_or(0)
}
