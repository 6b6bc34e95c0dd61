//! Which code has a template.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

use crate::forker::Forker;

/// What was evaluated longer ago is as good as new. A template ends by itself after as long; see there.
const REMEMBERED: Duration = Duration::from_secs(25);
/// The number of codes that are remembered.
const MOST_KNOWN: usize = 64;
/// Longer code has no template: it is remembered as a whole.
const MOST_CODE_BYTES: usize = 64 * 1024;

/// The codes that were evaluated lately, each owner's apart, and the templates of those that came more than once.
#[derive(Debug)]
pub(crate) struct Templates {
    /// The most templates at a time, half of them for one owner.
    most: usize,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    owner: u128,
    code: Box<str>,
    used: Instant,
    /// Since it came a second time.
    template: Option<Slot>,
}

/// A template that is there, is being made, or cannot be had.
pub(crate) type Slot = Arc<OnceCell<Option<Forker>>>;

impl Templates {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, known: Mutex::new(Vec::new()) }
    }

    /// The place of the template of this code, if it came before. The caller makes the template if there is none.
    pub(crate) fn slot(&self, owner: u128, code: &str, now: Instant) -> Option<Slot> {
        if self.most == 0 || code.len() > MOST_CODE_BYTES {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| now.saturating_duration_since(it.used) < REMEMBERED);
        let found = known.iter_mut().position(|it| it.owner == owner && *it.code == *code);
        let Some(at) = found else {
            if known.len() >= MOST_KNOWN {
                // Those that were used longest ago stand in front.
                known.remove(0);
            }
            known.push(Known { owner, code: code.into(), used: now, template: None });
            return None;
        };
        let mut one = known.remove(at);
        one.used = now;
        if one.template.is_none() {
            make_room(&mut known, owner, self.most);
        }
        let slot = one.template.get_or_insert_default().clone();
        known.push(one);
        Some(slot)
    }

    /// All templates ended.
    pub(crate) fn clear(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The template ended: the code is as new.
    pub(crate) fn forget(&self, owner: u128, code: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| it.owner != owner || *it.code != *code);
    }
}

/// Takes the template that was used longest ago from its code, if there are too many: the owner's own if it has its share.
fn make_room(known: &mut [Known], owner: u128, most: usize) {
    let held = |it: &&mut Known| it.template.is_some();
    let own = known.iter_mut().filter(held).filter(|it| it.owner == owner).count();
    let all = known.iter_mut().filter(held).count();
    let victim = if own >= (most / 2).max(1) {
        known.iter_mut().filter(held).find(|it| it.owner == owner)
    } else if all >= most {
        known.iter_mut().find(held)
    } else {
        None
    };
    if let Some(victim) = victim {
        // What runs in it holds it until it has ended.
        victim.template = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_templates(templates: &Templates) -> Vec<(u128, String)> {
        let known = templates.known.lock().unwrap();
        let held = known.iter().filter(|it| it.template.is_some());
        held.map(|it| (it.owner, it.code.to_string())).collect()
    }

    #[test]
    fn code_has_a_template_from_its_second_evaluation_on_until_it_rests() {
        let (templates, now) = (Templates::new(8), Instant::now());
        assert!(templates.slot(1, "a", now).is_none());
        assert!(templates.slot(2, "a", now).is_none(), "another's is another");
        let slot = templates.slot(1, "a", now).unwrap();
        assert!(Arc::ptr_eq(&slot, &templates.slot(1, "a", now + REMEMBERED / 2).unwrap()));
        assert!(templates.slot(1, "a", now + REMEMBERED * 2).is_none());
        assert!(!Arc::ptr_eq(&slot, &templates.slot(1, "a", now + REMEMBERED * 2).unwrap()));
        templates.forget(1, "a");
        assert!(templates.slot(1, "a", now + REMEMBERED * 2).is_none());
        let long = "#".repeat(MOST_CODE_BYTES + 1);
        assert!(templates.slot(1, &long, now).is_none() && templates.slot(1, &long, now).is_none());
        assert!(Templates::new(0).slot(1, "a", now).is_none());
    }

    #[test]
    fn an_owner_takes_its_own_templates_place_and_no_others() {
        let (templates, now) = (Templates::new(4), Instant::now());
        for owner in [1, 2] {
            for code in ["a", "b", "c"] {
                assert!(templates.slot(owner, code, now).is_none());
                assert!(templates.slot(owner, code, now).is_some());
            }
        }
        let expected = [(1, "b"), (1, "c"), (2, "b"), (2, "c")].map(|(owner, code)| (owner, code.to_owned()));
        assert_eq!(with_templates(&templates), expected);
        // A third owner takes the place of the one that was used longest ago.
        templates.slot(1, "b", now);
        templates.slot(3, "a", now);
        templates.slot(3, "a", now);
        let expected = [(2, "b"), (2, "c"), (1, "b"), (3, "a")].map(|(owner, code)| (owner, code.to_owned()));
        assert_eq!(with_templates(&templates), expected);
    }

    #[test]
    fn only_so_many_codes_are_remembered() {
        let (templates, now) = (Templates::new(4), Instant::now());
        for i in 0..1000 {
            assert!(templates.slot(1, &i.to_string(), now).is_none());
        }
        assert_eq!(templates.known.lock().unwrap().len(), MOST_KNOWN);
    }
}
