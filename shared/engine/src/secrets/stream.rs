//! Hides secrets in a text that comes in pieces.

use super::{MASK, Secrets};

/// One text. What may be the beginning of a secret is held back until it is known.
#[derive(Debug, Default)]
pub(crate) struct Veil {
    held: String,
}

impl Veil {
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

    /// What was held back, once nothing more comes.
    pub(crate) fn rest(&mut self, secrets: &Secrets) -> String {
        secrets.hide_in_content(std::mem::take(&mut self.held))
    }
}

/// Where the end of `text` is the beginning of `secret`, and not all of it; the end, if it is nowhere.
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
    fn however_it_is_cut() {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let secrets = Secrets::new(&set(&["sk-ü-4711", "4711-and-more"]), &set(&[]));
        let text = "sk- sk-ü-471 is not sk-ü-4711, nor sk-ü-4711-and-more, but 4711-and-more; sk-ü";
        for size in 1..20 {
            let (mut veil, mut shown) = (Veil::default(), String::new());
            let characters: Vec<char> = text.chars().collect();
            for piece in characters.chunks(size) {
                shown.push_str(&veil.add(&secrets, &piece.iter().collect::<String>()));
            }
            shown.push_str(&veil.rest(&secrets));
            assert_eq!(shown, "sk- sk-ü-471 is not ***, nor ***-and-more, but ***; sk-ü", "pieces of {size}");
        }
    }
}
