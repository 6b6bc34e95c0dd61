//! A text that comes in pieces and whose surrounding white space does not count.

/// Gives a text as it comes, without the white space at its start, and that at its end only once more follows.
#[derive(Debug, Default)]
pub(super) struct Section {
    begun: bool,
    /// White space that may be the end.
    held: String,
}

impl Section {
    /// What can be given of the text, now that `piece` has come.
    pub(super) fn feed(&mut self, piece: &str) -> Option<String> {
        let piece = if self.begun { piece } else { piece.trim_start() };
        let text = piece.trim_end();
        if text.is_empty() {
            if self.begun {
                self.held.push_str(piece);
            }
            return None;
        }
        self.begun = true;
        let mut given = std::mem::take(&mut self.held);
        given.push_str(text);
        self.held.push_str(&piece[text.len()..]);
        Some(given)
    }
}

/// How much of the end of `text` may be the beginning of one of `markers`.
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
