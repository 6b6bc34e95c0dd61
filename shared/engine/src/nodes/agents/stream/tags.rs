//! Finds `<thought>` and `<answer>` in a streamed reply with tags.

use super::{
    Delta,
    section::{Section, pending},
};

/// Parser of a reply with tags.
#[derive(Debug, Default)]
pub(in super::super) struct Tags {
    at: Position,
    held: String,
    section: Section,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Outside,
    Thought,
    Answer,
    /// In a tag whose content is not parsed for tags.
    Input,
    Files,
    /// After the end of the block. The model invented what follows, because no tool has run.
    Over,
}

const OUTSIDE: &[(&str, Position)] = &[
    ("<thought>", Position::Thought),
    ("<answer>", Position::Answer),
    ("<action_input>", Position::Input),
    ("<output_files>", Position::Files),
    ("</output>", Position::Over),
];

impl Position {
    fn ends(self) -> &'static [(&'static str, Position)] {
        match self {
            Self::Outside => OUTSIDE,
            Self::Thought => &[("</thought>", Self::Outside)],
            Self::Answer => &[("</answer>", Self::Outside)],
            Self::Input => &[("</action_input>", Self::Outside)],
            Self::Files => &[("</output_files>", Self::Outside)],
            Self::Over => &[],
        }
    }
}

impl Tags {
    pub(super) fn feed(&mut self, piece: &str, deltas: &mut Vec<Delta>) {
        if self.at == Position::Over {
            return;
        }
        self.held.push_str(piece);
        loop {
            let ends = self.at.ends();
            let next = ends
                .iter()
                .filter_map(|(tag, at)| Some((self.held.find(tag)?, *tag, *at)))
                .min_by_key(|(index, ..)| *index);
            let Some((index, tag, at)) = next else { break };
            let rest = self.held.split_off(index + tag.len());
            self.held.truncate(index);
            self.emit(deltas);
            self.held = rest;
            self.section = Section::default();
            self.at = at;
        }
        let tags: Vec<&str> = self.at.ends().iter().map(|(tag, _)| *tag).collect();
        let rest = self.held.split_off(self.held.len() - pending(&self.held, &tags));
        self.emit(deltas);
        self.held = rest;
    }

    fn emit(&mut self, deltas: &mut Vec<Delta>) {
        let text = std::mem::take(&mut self.held);
        let make = match self.at {
            Position::Thought => Delta::Thought,
            Position::Answer => Delta::Answer,
            _ => return,
        };
        deltas.extend(self.section.feed(&text).map(make));
    }
}
