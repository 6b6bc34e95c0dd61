//! Masks secrets in a text that arrives in pieces.

use super::{MASK, Secrets};

/// The state of one text. A possible beginning of a secret is held back until more text decides.
#[derive(Debug, Default)]
pub(crate) struct StreamMask {
    held: String,
}

impl StreamMask {
    /// The next piece that may be shown.
    pub(crate) fn add(&mut self, secrets: &Secrets, piece: &str) -> String {
        let Some(matcher) = &secrets.outputs else { return piece.to_owned() };
        self.held.push_str(piece);
        let begin = matcher.patterns.iter().map(|secret| begins_at(&self.held, secret)).min();
        let mut open = begin.unwrap_or(self.held.len());
        let mut shown = String::new();
        let mut at = 0;
        for found in matcher.automaton.find_iter(&self.held) {
            // A longer secret may begin here too.
            if found.start() >= open {
                break;
            }
            shown.push_str(&self.held[at..found.start()]);
            shown.push_str(MASK);
            at = found.end();
        }
        open = open.max(at);
        shown.push_str(&self.held[at..open]);
        self.held.drain(..open);
        shown
    }

    /// The text that was held back, at the end of the stream.
    pub(crate) fn rest(&mut self, secrets: &Secrets) -> String {
        secrets.hide_in_content(std::mem::take(&mut self.held))
    }
}

/// The index of the longest end of `text` that is a proper prefix of `secret`; the length of `text` if there is none.
fn begins_at(text: &str, secret: &str) -> usize {
    let first = (text.len() + 1).saturating_sub(secret.len());
    (first..text.len())
        .find(|at| text.is_char_boundary(*at) && secret.starts_with(&text[*at..]))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_secrets_for_every_size_of_pieces() {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let secrets = Secrets::new(&set(&["sk-ü-4711", "4711-and-more"]), &set(&[]));
        let text = "sk- sk-ü-471 is not sk-ü-4711, nor sk-ü-4711-and-more, but 4711-and-more; sk-ü";
        for size in 1..20 {
            let (mut veil, mut shown) = (StreamMask::default(), String::new());
            let characters: Vec<char> = text.chars().collect();
            for piece in characters.chunks(size) {
                shown.push_str(&veil.add(&secrets, &piece.iter().collect::<String>()));
            }
            shown.push_str(&veil.rest(&secrets));
            assert_eq!(shown, "sk- sk-ü-471 is not ***, nor ***-and-more, but ***; sk-ü", "pieces of {size}");
        }
    }
}
