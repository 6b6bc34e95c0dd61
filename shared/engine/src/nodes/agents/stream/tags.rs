//! `<thought>`, `<answer>`, and all other tags, of which nothing is shown.

use super::{
    Delta,
    section::{Section, pending},
};

/// Follows a reply in tags.
#[derive(Debug, Default)]
pub(in super::super) struct Tags {
    at: At,
    held: String,
    section: Section,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Outside,
    Thought,
    Answer,
    /// In another tag whose content is no tags, whatever it looks like.
    Input,
    Files,
    /// After the end of the block: what follows is made up.
    Over,
}

const OUTSIDE: &[(&str, At)] = &[
    ("<thought>", At::Thought),
    ("<answer>", At::Answer),
    ("<action_input>", At::Input),
    ("<output_files>", At::Files),
    ("</output>", At::Over),
];

impl At {
    fn ends(self) -> &'static [(&'static str, At)] {
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
        if self.at == At::Over {
            return;
        }
        self.held.push_str(piece);
        loop {
            let ends = self.at.ends();
            let next = ends
                .iter()
                .filter_map(|(tag, at)| Some((self.held.find(tag)?, *tag, *at)))
                .min_by_key(|(place, ..)| *place);
            let Some((place, tag, at)) = next else { break };
            let rest = self.held.split_off(place + tag.len());
            self.held.truncate(place);
            self.give(deltas);
            self.held = rest;
            self.section = Section::default();
            self.at = at;
        }
        let tags: Vec<&str> = self.at.ends().iter().map(|(tag, _)| *tag).collect();
        let rest = self.held.split_off(self.held.len() - pending(&self.held, &tags));
        self.give(deltas);
        self.held = rest;
    }

    fn give(&mut self, deltas: &mut Vec<Delta>) {
        let text = std::mem::take(&mut self.held);
        let make = match self.at {
            At::Thought => Delta::Thought,
            At::Answer => Delta::Answer,
            _ => return,
        };
        deltas.extend(self.section.feed(&text).map(make));
    }
}
