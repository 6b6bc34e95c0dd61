//! Finds the thought and the answer in a streamed JSON object.

use super::Delta;

/// Parses the text of one object.
///
/// The text of a string is decoded; an answer that is an object or a list stays JSON text.
#[derive(Debug)]
pub(in super::super) struct Members {
    thought: &'static str,
    answer: Option<&'static str>,
    gate: Gate,
    at: Position,
    key: String,
    text: Decoder,
    /// Depth of brackets in a value that is not a string.
    depth: u32,
    quoted: Quoted,
    /// New text of the current member.
    new: String,
}

/// The member that decides whether the object has an answer.
#[derive(Debug)]
enum Gate {
    /// The object has an answer, or there is no such member.
    Open,
    /// The object has no answer.
    Shut,
    /// Not known yet. `key` and `value` of the member, the text of its value so far (`read`), and of the answer
    /// (`held`).
    Waiting { key: &'static str, value: &'static str, read: String, held: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Before,
    /// Before a key or the end of the object.
    Members,
    Key,
    /// Between a key and its value.
    Colon,
    Text,
    /// In a value that is not a string; `shown` if it is the answer.
    Other {
        shown: bool,
    },
    Over,
}

#[derive(Clone, Copy, Debug, Default)]
struct Quoted {
    inside: bool,
    escaped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Thought,
    Answer,
    Gate,
    Other,
}

impl Members {
    /// `thought` and `answer` are names of members. `gate`: a member and the value it must have if there is an answer.
    pub(super) fn new(
        thought: &'static str,
        answer: Option<&'static str>,
        gate: Option<(&'static str, &'static str)>,
    ) -> Self {
        let gate = match gate {
            Some((key, value)) => Gate::Waiting { key, value, read: String::new(), held: String::new() },
            None => Gate::Open,
        };
        Self {
            thought,
            answer,
            gate,
            at: Position::Before,
            key: String::new(),
            text: Decoder::default(),
            depth: 0,
            quoted: Quoted::default(),
            new: String::new(),
        }
    }

    pub(super) fn feed(&mut self, piece: &str, deltas: &mut Vec<Delta>) {
        for character in piece.chars() {
            self.take(character, deltas);
        }
        self.emit(deltas);
    }

    fn take(&mut self, character: char, deltas: &mut Vec<Delta>) {
        match self.at {
            Position::Before if character == '{' => self.at = Position::Members,
            Position::Members if character == '"' => {
                self.key.clear();
                self.text = Decoder::default();
                self.at = Position::Key;
            }
            Position::Members if character == '}' => self.at = Position::Over,
            Position::Key => match self.text.next(character) {
                Decoded::Text(text) => self.key.extend(text),
                Decoded::End => self.at = Position::Colon,
            },
            Position::Colon if character == ':' || character.is_whitespace() => {}
            Position::Colon if character == '"' => {
                self.text = Decoder::default();
                self.at = Position::Text;
            }
            Position::Colon => {
                let shown = self.member() == Member::Answer && matches!(character, '{' | '[');
                (self.depth, self.quoted) = (0, Quoted::default());
                self.at = Position::Other { shown };
                self.other(character, shown, deltas);
            }
            Position::Text => match self.text.next(character) {
                Decoded::Text(text) => self.new.extend(text),
                Decoded::End => self.leave(deltas),
            },
            Position::Other { shown } => self.other(character, shown, deltas),
            Position::Before | Position::Members | Position::Over => {}
        }
    }

    fn other(&mut self, character: char, shown: bool, deltas: &mut Vec<Delta>) {
        let inside = self.quoted.inside;
        if inside {
            match character {
                _ if std::mem::take(&mut self.quoted.escaped) => {}
                '\\' => self.quoted.escaped = true,
                '"' => self.quoted.inside = false,
                _ => {}
            }
        } else {
            match character {
                '"' => self.quoted.inside = true,
                ',' if self.depth == 0 => return self.leave(deltas),
                '}' if self.depth == 0 => {
                    self.leave(deltas);
                    self.at = Position::Over;
                    return;
                }
                '{' | '[' => self.depth += 1,
                '}' | ']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        // White space after the value is not part of it.
        if shown && (inside || self.depth > 0 || !character.is_whitespace()) {
            self.new.push(character);
        }
    }

    fn member(&self) -> Member {
        match &self.gate {
            Gate::Waiting { key, .. } if self.key == *key => Member::Gate,
            _ if self.key == self.thought => Member::Thought,
            _ if self.answer == Some(self.key.as_str()) => Member::Answer,
            _ => Member::Other,
        }
    }

    /// Ends the current member.
    fn leave(&mut self, deltas: &mut Vec<Delta>) {
        self.emit(deltas);
        self.at = Position::Members;
        if self.member() != Member::Gate {
            return;
        }
        if let Gate::Waiting { value, read, held, .. } = std::mem::replace(&mut self.gate, Gate::Shut)
            && read == value
        {
            self.gate = Gate::Open;
            if !held.is_empty() {
                deltas.push(Delta::Answer(held));
            }
        }
    }

    fn emit(&mut self, deltas: &mut Vec<Delta>) {
        let new = std::mem::take(&mut self.new);
        if new.is_empty() {
            return;
        }
        match (self.member(), &mut self.gate) {
            (Member::Thought, _) => deltas.push(Delta::Thought(new)),
            (Member::Gate, Gate::Waiting { read, .. }) => read.push_str(&new),
            (Member::Answer, Gate::Open) => deltas.push(Delta::Answer(new)),
            (Member::Answer, Gate::Waiting { held, .. }) => held.push_str(&new),
            _ => {}
        }
    }
}

/// Decodes the inside of a JSON string.
#[derive(Debug, Default)]
struct Decoder {
    escape: Escape,
    /// The first code unit of a surrogate pair.
    high: Option<u32>,
}

#[derive(Debug, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Number of digits of `\uXXXX` that were read, and their value.
    Code(u8, u32),
}

enum Decoded {
    /// Up to two characters: a replacement for an unpaired surrogate, and the decoded character.
    Text(std::iter::Flatten<std::array::IntoIter<Option<char>, 2>>),
    End,
}

impl Decoder {
    fn next(&mut self, character: char) -> Decoded {
        match self.escape {
            Escape::None if character == '\\' => {
                self.escape = Escape::Begun;
                self.text(None)
            }
            Escape::None if character == '"' => Decoded::End,
            Escape::None => self.text(Some(u32::from(character))),
            Escape::Begun => {
                self.escape = Escape::None;
                match character {
                    'u' => {
                        self.escape = Escape::Code(0, 0);
                        self.text(None)
                    }
                    'n' => self.text(Some(0x0a)),
                    't' => self.text(Some(0x09)),
                    'r' => self.text(Some(0x0d)),
                    'b' => self.text(Some(0x08)),
                    'f' => self.text(Some(0x0c)),
                    other => self.text(Some(u32::from(other))),
                }
            }
            Escape::Code(digits, code) => {
                let code = code * 16 + character.to_digit(16).unwrap_or(0);
                if digits < 3 {
                    self.escape = Escape::Code(digits + 1, code);
                    return self.text(None);
                }
                self.escape = Escape::None;
                self.text(Some(code))
            }
        }
    }

    fn text(&mut self, code: Option<u32>) -> Decoded {
        let Some(code) = code else { return Decoded::Text([None, None].into_iter().flatten()) };
        let unpaired = |half: Option<u32>| half.map(|_| char::REPLACEMENT_CHARACTER);
        let high = self.high.take();
        let characters = match (high, code) {
            (_, 0xd800..=0xdbff) => {
                self.high = Some(code);
                [unpaired(high), None]
            }
            (Some(high), 0xdc00..=0xdfff) => {
                [char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (code - 0xdc00)), None]
            }
            _ => [unpaired(high), Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))],
        };
        Decoded::Text(characters.into_iter().flatten())
    }
}
