//! Outputs of nodes, cached for runs that give a node the same input.
//!
//! The cache is in the process, for one version of one app: a new version, a changed variable or a restart begins with
//! an empty one. Users and sessions do not share outputs, because a node may depend on whose run it is.

use super::Node;
use runyard_runs::{NewRun, OutputCache};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use uuid::Uuid;

/// Bytes of inputs and outputs in one app's cache.
const MAX_BYTES: usize = 64 << 20;

/// The outputs of one version of an app.
#[derive(Debug)]
pub(crate) struct Cache {
    kept_for: Duration,
    entries: usize,
    kept: Mutex<Kept>,
}

/// What determines an output: the node, the run's user and session, and the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    /// The address of the compiled node, which outlives the cache.
    node: usize,
    user: Option<String>,
    session: Option<Uuid>,
    /// Whether a caller with an access key vouches for the user: outputs are not shared with runs without such a
    /// caller.
    vouched: bool,
    input: Arc<str>,
}

#[derive(Debug, Default)]
struct Kept {
    outputs: HashMap<CacheKey, Entry>,
    /// The oldest first. Keys that are not in `outputs` were replaced.
    order: VecDeque<(Instant, CacheKey)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    output: Arc<Value>,
    bytes: usize,
}

impl CacheKey {
    pub(crate) fn new(node: &Node, run: &NewRun, input: &Value) -> Self {
        let mut text = String::new();
        canonical(input, &mut text);
        Self {
            node: std::ptr::from_ref(node).addr(),
            user: run.user_id.clone(),
            session: run.session_id,
            vouched: run.origin.vouches_for_user(),
            input: text.into(),
        }
    }
}

impl Cache {
    pub(crate) fn new(config: OutputCache) -> Self {
        Self {
            kept_for: Duration::from_secs(config.seconds),
            entries: config.entries as usize,
            kept: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, key: &CacheKey) -> Option<Arc<Value>> {
        let kept = self.lock();
        let entry = kept.outputs.get(key)?;
        (entry.since.elapsed() < self.kept_for).then(|| Arc::clone(&entry.output))
    }

    pub(crate) fn put(&self, key: CacheKey, output: &Arc<Value>) {
        let mut text = String::new();
        canonical(output, &mut text);
        let bytes = key.input.len() + text.len();
        if bytes > MAX_BYTES {
            return;
        }
        let since = Instant::now();
        let mut kept = self.lock();
        kept.order.push_back((since, key.clone()));
        kept.bytes += bytes;
        if let Some(before) = kept.outputs.insert(key, Entry { since, output: Arc::clone(output), bytes }) {
            kept.bytes -= before.bytes;
        }
        while kept.outputs.len() > self.entries || kept.bytes > MAX_BYTES || kept.has_expired(self.kept_for) {
            if !kept.drop_oldest() {
                break;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn has_expired(&self, kept_for: Duration) -> bool {
        self.order.front().is_some_and(|(since, _)| since.elapsed() >= kept_for)
    }

    /// Returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let Some((since, key)) = self.order.pop_front() else { return false };
        if self.outputs.get(&key).is_some_and(|entry| entry.since == since)
            && let Some(entry) = self.outputs.remove(&key)
        {
            self.bytes -= entry.bytes;
        }
        true
    }
}

/// JSON with the keys of every mapping sorted.
pub(super) fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in entries {
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        plain => {
            let _ = write!(text, "{plain}");
        }
    }
}
