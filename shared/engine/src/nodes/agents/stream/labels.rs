//! Finds the thought and the answer in a streamed reply with the labels `Thought:`, `Action:`, `Answer:`.

use super::{
    Delta,
    section::{Section, pending},
};

/// Parser of a reply with labels.
#[derive(Debug, Default)]
pub(in super::super) struct Labels {
    at: Position,
    /// Text that may be the start of a label.
    held: String,
    section: Section,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// Before the thought.
    #[default]
    Start,
    Thought,
    /// In an action, its input, or a list of files.
    Other,
    Answer,
}

impl Position {
    /// The labels that end this section, and what each starts.
    fn ends(self) -> &'static [(&'static str, Position)] {
        match self {
            Self::Start => &[("Thought:", Self::Thought)],
            Self::Thought => {
                &[("Answer:", Self::Answer), ("\nOutput Files:", Self::Other), ("Action", Self::Other)]
            }
            Self::Other => &[("Answer:", Self::Answer)],
            Self::Answer => &[],
        }
    }
}

impl Labels {
    pub(super) fn feed(&mut self, piece: &str, deltas: &mut Vec<Delta>) {
        self.held.push_str(piece);
        loop {
            let ends = self.at.ends();
            let next = ends
                .iter()
                .filter_map(|(label, at)| Some((self.held.find(label)?, *label, *at)))
                .min_by_key(|(index, ..)| *index);
            let Some((index, label, at)) = next else { break };
            let rest = self.held.split_off(index + label.len());
            self.held.truncate(index);
            self.emit(deltas);
            self.held = rest;
            self.section = Section::default();
            self.at = at;
        }
        let labels: Vec<&str> = self.at.ends().iter().map(|(label, _)| *label).collect();
        let rest = self.held.split_off(self.held.len() - pending(&self.held, &labels));
        self.emit(deltas);
        self.held = rest;
    }

    /// Ends the reply: held text is not a label.
    pub(super) fn end(&mut self, deltas: &mut Vec<Delta>) {
        self.emit(deltas);
    }

    fn emit(&mut self, deltas: &mut Vec<Delta>) {
        let text = std::mem::take(&mut self.held);
        let make = match self.at {
            Position::Thought => Delta::Thought,
            Position::Answer => Delta::Answer,
            Position::Start | Position::Other => return,
        };
        deltas.extend(self.section.feed(&text).map(make));
    }
}
