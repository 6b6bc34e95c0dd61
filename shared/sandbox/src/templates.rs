//! Decides which code has a template.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

use crate::forker::Forker;

/// How long code is remembered after its last evaluation. Less than the time after which an idle template ends.
const RETENTION: Duration = Duration::from_secs(25);
/// Number of codes that are remembered.
const MAX_KNOWN: usize = 64;
/// Longer code gets no template, since its whole text would have to be remembered.
const MAX_CODE_BYTES: usize = 64 * 1024;

/// The codes that each app evaluated recently, and the templates of those that were evaluated more than once.
#[derive(Debug)]
pub(crate) struct Templates {
    /// Maximum number of templates, half of them for one app.
    max: usize,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    app: u128,
    code: Box<str>,
    used: Instant,
    /// Set from the second evaluation on.
    template: Option<Slot>,
}

/// A template: ready, being made, or `None` if it could not be made.
pub(crate) type Slot = Arc<OnceCell<Option<Forker>>>;

impl Templates {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, known: Mutex::new(Vec::new()) }
    }

    /// Returns the slot for this code's template, if the code was evaluated before. The caller makes the template if
    /// the slot is empty.
    pub(crate) fn slot(&self, app: u128, code: &str, now: Instant) -> Option<Slot> {
        if self.max == 0 || code.len() > MAX_CODE_BYTES {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| now.saturating_duration_since(it.used) < RETENTION);
        let found = known.iter_mut().position(|it| it.app == app && *it.code == *code);
        let Some(index) = found else {
            if known.len() >= MAX_KNOWN {
                // The least recently used code is first.
                known.remove(0);
            }
            known.push(Known { app, code: code.into(), used: now, template: None });
            return None;
        };
        let mut entry = known.remove(index);
        entry.used = now;
        if entry.template.is_none() {
            make_room(&mut known, app, self.max);
        }
        let slot = entry.template.get_or_insert_default().clone();
        known.push(entry);
        Some(slot)
    }

    /// Forgets all codes, because all templates have ended.
    pub(crate) fn clear(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets this code, because its template has ended.
    pub(crate) fn forget(&self, app: u128, code: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| it.app != app || *it.code != *code);
    }
}

/// Evicts the least recently used template if there are too many: one of the app's own if the app has used up its
/// share.
fn make_room(known: &mut [Known], app: u128, max: usize) {
    let held = |it: &&mut Known| it.template.is_some();
    let own = known.iter_mut().filter(held).filter(|it| it.app == app).count();
    let all = known.iter_mut().filter(held).count();
    let victim = if own >= (max / 2).max(1) {
        known.iter_mut().filter(held).find(|it| it.app == app)
    } else if all >= max {
        known.iter_mut().find(held)
    } else {
        None
    };
    if let Some(victim) = victim {
        // Running evaluations keep it alive until they have ended.
        victim.template = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_templates(templates: &Templates) -> Vec<(u128, String)> {
        let known = templates.known.lock().unwrap();
        let held = known.iter().filter(|it| it.template.is_some());
        held.map(|it| (it.app, it.code.to_string())).collect()
    }

    #[test]
    fn code_has_a_template_from_its_second_evaluation_until_it_is_forgotten() {
        let (templates, now) = (Templates::new(8), Instant::now());
        assert!(templates.slot(1, "a", now).is_none());
        assert!(templates.slot(2, "a", now).is_none(), "the code of another app counts separately");
        let slot = templates.slot(1, "a", now).unwrap();
        assert!(Arc::ptr_eq(&slot, &templates.slot(1, "a", now + RETENTION / 2).unwrap()));
        assert!(templates.slot(1, "a", now + RETENTION * 2).is_none());
        assert!(!Arc::ptr_eq(&slot, &templates.slot(1, "a", now + RETENTION * 2).unwrap()));
        templates.forget(1, "a");
        assert!(templates.slot(1, "a", now + RETENTION * 2).is_none());
        let long = "#".repeat(MAX_CODE_BYTES + 1);
        assert!(templates.slot(1, &long, now).is_none() && templates.slot(1, &long, now).is_none());
        assert!(Templates::new(0).slot(1, "a", now).is_none());
    }

    #[test]
    fn an_app_over_its_share_evicts_only_its_own_templates() {
        let (templates, now) = (Templates::new(4), Instant::now());
        for app in [1, 2] {
            for code in ["a", "b", "c"] {
                assert!(templates.slot(app, code, now).is_none());
                assert!(templates.slot(app, code, now).is_some());
            }
        }
        let expected = [(1, "b"), (1, "c"), (2, "b"), (2, "c")].map(|(app, code)| (app, code.to_owned()));
        assert_eq!(with_templates(&templates), expected);
        // A third app evicts the least recently used template.
        templates.slot(1, "b", now);
        templates.slot(3, "a", now);
        templates.slot(3, "a", now);
        let expected = [(2, "b"), (2, "c"), (1, "b"), (3, "a")].map(|(app, code)| (app, code.to_owned()));
        assert_eq!(with_templates(&templates), expected);
    }

    #[test]
    fn the_number_of_remembered_codes_is_limited() {
        let (templates, now) = (Templates::new(4), Instant::now());
        for i in 0..1000 {
            assert!(templates.slot(1, &i.to_string(), now).is_none());
        }
        assert_eq!(templates.known.lock().unwrap().len(), MAX_KNOWN);
    }
}
