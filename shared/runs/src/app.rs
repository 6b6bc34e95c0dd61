//! Deployed apps, and the port that finds them.

use crate::{AppId, CacheWrites, ModelUsage, OrganizationId, ProjectId, SecretReference, StoreError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// One version of a deployed app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// The app.
    pub id: AppId,
    /// Its project.
    pub project: ProjectId,
    /// Its project's organization.
    pub organization: OrganizationId,
    /// Its name, which is also its host's first label: letters, digits, `-` and `_`.
    pub name: String,
    /// Whether anyone may create a run of it and follow it by its id.
    #[serde(default)]
    pub public: bool,
    /// Further host names that it answers on.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Names this version: a hash of everything that makes the app behave as it does.
    pub version: String,
    /// The workflow file, as deployed.
    pub workflow: WorkflowSource,
    /// What a run may use.
    #[serde(default)]
    pub limits: Limits,
    /// For how many days a run is kept after the longest time that it may take.
    #[serde(default = "default_retention_days")]
    pub retention_days: u32,
    /// The names that `${oc.env:NAME}` may resolve for this app.
    #[serde(default)]
    pub env: Vec<String>,
    /// Where the values of some of them are kept, on a platform that has such a place. Elsewhere, and for all others, the
    /// process's environment has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretReference>,
    /// Hosts that its nodes may call although they resolve to a loopback, link-local or private address.
    #[serde(default)]
    pub allow_hosts: Vec<String>,
    /// What stands for the requirements of its workflow file, by their `$id`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requirements: BTreeMap<String, Value>,
    /// What models cost whose public price is not known, or that cost the app something else; by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
    /// Whether outputs of nodes with `caching` are kept for later runs, and for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<OutputCache>,
}

fn default_retention_days() -> u32 {
    30
}

/// A workflow file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSource {
    /// Its name, for messages.
    pub file: String,
    /// Which workflow of the file; the only one if it holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its text.
    pub text: Arc<str>,
}

/// How outputs of nodes are kept for later runs, in each process that executes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputCache {
    /// Seconds that an output is kept.
    pub seconds: u64,
    /// Outputs that are kept at most; the oldest go first.
    pub entries: u32,
}

/// What a provider takes for the tokens of a model, in US dollars for a million.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For those sent.
    pub input: f64,
    /// For those received.
    pub output: f64,
    /// For those sent that the provider had cached; as for the others if this is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
}

/// What a token costs that is cached, by the price of one that is not. The providers that take more for it take the same:
/// for some minutes, and for an hour.
const WRITTEN: (f64, f64) = (1.25, 2.0);

impl Price {
    /// What a call costs, in billionths of a US dollar.
    pub fn cost(&self, used: &ModelUsage) -> u64 {
        let cached = used.cached_tokens.min(used.input_tokens);
        let CacheWrites { short, long } = used.cache_writes;
        let plain = (used.input_tokens - cached).saturating_sub(short + long);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 tokens")]
        let cost = (plain as f64 + short as f64 * WRITTEN.0 + long as f64 * WRITTEN.1) * self.input
            + cached as f64 * self.cached.unwrap_or(self.input)
            + used.output_tokens as f64 * self.output;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "prices are not negative"
        )]
        let nanodollars = (cost * 1000.0).round() as u64;
        nanodollars
    }
}

/// What a run of an app may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds from the first claim to the end, waiting for people not counted. 900 by default, 86,400 at most.
    pub run_seconds: u64,
    /// Bytes of `input` as JSON. 4 MiB by default and at most.
    pub input_bytes: u64,
    /// Runs of this app that one process executes at the same time; more wait, or get 429. 256 by default.
    pub concurrent_runs: u32,
    /// Bytes of a run's log, which holds its events and what its nodes gave. 64 MiB by default, 1 GiB at most.
    #[serde(skip_serializing_if = "is_usual_log")]
    pub run_bytes: u64,
    /// Bytes that the app may have stored: runs are refused beyond it, and uploads. 10 GiB by default, 1 MiB at least and
    /// 1 PiB at most.
    #[serde(skip_serializing_if = "is_usual_quota")]
    pub stored_bytes: u64,
    /// LLM tokens, in and out.
    pub tokens: Option<u64>,
    /// LLM cost in US dollars.
    pub cost_usd: Option<f64>,
}

const RUN_BYTES: u64 = 64 << 20;

const STORED_BYTES: u64 = 10 << 30;

/// Left out where it is stored, so that earlier releases read an app that does not say it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
fn is_usual_log(bytes: &u64) -> bool {
    *bytes == RUN_BYTES
}

/// Left out for the same reason.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
fn is_usual_quota(bytes: &u64) -> bool {
    *bytes == STORED_BYTES
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run_seconds: 900,
            input_bytes: 4 << 20,
            concurrent_runs: 256,
            run_bytes: RUN_BYTES,
            stored_bytes: STORED_BYTES,
            tokens: None,
            cost_usd: None,
        }
    }
}

impl Limits {
    /// The lower of each.
    fn within(&self, other: &Self) -> Self {
        /// No limit is more than any.
        fn lower<T: PartialOrd + Copy>(one: Option<T>, other: Option<T>) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(if other < one { other } else { one }),
                (one, other) => one.or(other),
            }
        }
        Self {
            run_seconds: self.run_seconds.min(other.run_seconds),
            input_bytes: self.input_bytes.min(other.input_bytes),
            concurrent_runs: self.concurrent_runs.min(other.concurrent_runs),
            run_bytes: self.run_bytes.min(other.run_bytes),
            stored_bytes: self.stored_bytes.min(other.stored_bytes),
            tokens: lower(self.tokens, other.tokens),
            cost_usd: lower(self.cost_usd, other.cost_usd),
        }
    }
}

impl App {
    /// How long a run may take, waiting for people not counted.
    pub fn longest_run(&self) -> Duration {
        Duration::from_secs(self.limits.run_seconds)
    }

    /// This version with no more reach than `current`, the current version of the same app: what its operator has taken away
    /// since (hosts, variables, the public, what a run may use) is taken away from the runs of former versions too.
    /// Variables are read from where the current version says.
    #[must_use]
    pub fn within(self: &Arc<Self>, current: &Self) -> Arc<Self> {
        let mut app = Self::clone(self);
        app.public &= current.public;
        app.env.retain(|name| current.env.contains(name));
        let secrets = current.secrets.iter().filter(|(name, _)| app.env.contains(name));
        app.secrets = secrets.map(|(name, place)| (name.clone(), place.clone())).collect();
        app.allow_hosts
            .retain(|host| current.allow_hosts.iter().any(|known| known.eq_ignore_ascii_case(host)));
        app.limits = app.limits.within(&current.limits);
        if app == **self { Arc::clone(self) } else { Arc::new(app) }
    }

    /// How long everything of a run is kept, from its creation.
    pub fn lifetime(&self) -> Duration {
        self.longest_run() + Duration::from_secs(u64::from(self.retention_days) * 86_400)
    }
}

/// Finds deployed apps. Answers from memory for up to 15 s.
#[async_trait]
pub trait AppStore: Send + Sync + 'static {
    /// The app that answers on `host` (lower case, without a port), in its current version.
    async fn by_host(&self, host: &str) -> Result<Option<Arc<App>>, StoreError>;

    /// One version of an app, also when a later one is current or the app was removed. A former version has no more reach
    /// than the current one ([`App::within`]).
    async fn version(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError>;

    /// The current version of every app, by name.
    async fn list(&self) -> Result<Vec<Arc<App>>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn app(more: &Value) -> Arc<App> {
        let id = uuid::Uuid::nil();
        let mut app = json!({
            "id": id, "project": id, "organization": id, "name": "a", "version": "1", "workflow": {"file": "f", "text": "old"},
        });
        app.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(app).unwrap())
    }

    #[test]
    fn a_former_version_has_no_more_reach_than_the_current_one() {
        let old = app(&json!({
            "public": true, "env": ["KEPT", "GONE", "MOVED"], "allow_hosts": ["10.0.0.1", "Kept.internal", "gone.internal"],
            "secrets": {"MOVED": "ssm:/old", "GONE": "ssm:/gone"},
            "limits": {"run_seconds": 100, "tokens": 5, "concurrent_runs": 3},
        }));
        let current = app(&json!({
            "version": "2", "workflow": {"file": "f", "text": "new"}, "env": ["NEW", "MOVED", "KEPT"],
            "allow_hosts": ["kept.internal", "10.0.0.1", "new.internal"], "secrets": {"MOVED": "ssm:/new", "NEW": "ssm:/n"},
            "limits": {"run_seconds": 50, "tokens": 9, "cost_usd": 0.5, "stored_bytes": 7},
        }));
        let held = old.within(&current);
        assert_eq!((held.version.as_str(), &*held.workflow.text, held.public), ("1", "old", false));
        assert_eq!(held.env, ["KEPT", "MOVED"]);
        assert_eq!(
            held.secrets,
            current.secrets.clone().into_iter().filter(|(name, _)| name == "MOVED").collect()
        );
        assert_eq!(held.allow_hosts, ["10.0.0.1", "Kept.internal"]);
        let Limits { run_seconds, concurrent_runs, tokens, cost_usd, .. } = held.limits;
        assert_eq!((run_seconds, concurrent_runs, tokens, cost_usd), (50, 3, Some(5), Some(0.5)));
        assert_eq!((old.limits.stored_bytes, held.limits.stored_bytes), (10 << 30, 7));
        assert!(Arc::ptr_eq(&old, &old.within(&old)));
    }

    #[test]
    fn a_usual_quota_is_not_stored_so_that_earlier_releases_read_the_app() {
        let stored =
            |limits: &Value| serde_json::to_value(&app(&json!({ "limits": limits })).limits).unwrap();
        assert_eq!(stored(&json!({})).get("stored_bytes"), None);
        assert_eq!(stored(&json!({"stored_bytes": 1 << 20}))["stored_bytes"], 1 << 20);
    }
}
