//! Deployed apps, and the port that finds them.

use crate::{AppId, CacheWrites, ModelUsage, OrganizationId, ProjectId, SecretReference, StoreError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// One version of a deployed app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// The app that this is a version of.
    pub id: AppId,
    /// The project that the app belongs to.
    pub project: ProjectId,
    /// The organization that the project belongs to.
    pub organization: OrganizationId,
    /// The app's name, and the first label of its host name: letters, digits, `-` and `_`.
    pub name: String,
    /// Whether callers without an access key may create runs, and follow a run by its id.
    #[serde(default)]
    pub public: bool,
    /// Further host names of the app.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Identifies this version: a hash of everything that determines the app's behavior.
    pub version: String,
    /// The workflow file, as deployed.
    pub workflow: WorkflowSource,
    /// What runs may use.
    #[serde(default)]
    pub limits: Limits,
    /// How many days a run is kept beyond `limits.run_seconds`.
    #[serde(default = "default_retention_days")]
    pub retention_days: u32,
    /// The environment variables that `${oc.env:NAME}` may read in this app.
    #[serde(default)]
    pub env: Vec<String>,
    /// Where the values of some of these variables are kept, on a platform with a secret store. All others are read
    /// from the process's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretReference>,
    /// Hosts that its nodes may call although they resolve to a loopback, link-local or private address.
    #[serde(default)]
    pub allow_hosts: Vec<String>,
    /// The values of the requirements of the workflow file, by their `$id`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requirements: BTreeMap<String, Value>,
    /// Prices of models, by model name; they take precedence over the known public prices.
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
    /// The file's name, for messages.
    pub file: String,
    /// The id of the workflow in the file; absent if the file holds only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The file's content.
    pub text: Arc<str>,
}

/// How outputs of nodes are kept for later runs, in each process that executes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputCache {
    /// Seconds that an output is kept.
    pub seconds: u64,
    /// Maximum number of outputs; the oldest are removed first.
    pub entries: u32,
}

/// The price of a model's tokens, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Price of tokens sent.
    pub input: f64,
    /// Price of tokens received.
    pub output: f64,
    /// Price of tokens sent that the provider had cached; the same as `input` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
}

/// Price factors for writing a token to the provider's cache, for some minutes and for an hour. All providers that
/// charge extra for it use the same factors.
const CACHE_WRITE_FACTORS: (f64, f64) = (1.25, 2.0);

impl Price {
    /// Returns the cost of a call in billionths of a US dollar.
    pub fn cost(&self, used: &ModelUsage) -> u64 {
        let cached = used.cached_tokens.min(used.input_tokens);
        let CacheWrites { short, long } = used.cache_writes;
        let plain = (used.input_tokens - cached).saturating_sub(short + long);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 tokens")]
        let cost =
            (plain as f64 + short as f64 * CACHE_WRITE_FACTORS.0 + long as f64 * CACHE_WRITE_FACTORS.1)
                * self.input
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

/// Limits of an app and its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds from the first claim to the end, without the time of waiting for people. 900 by default, 86,400 at most.
    pub run_seconds: u64,
    /// Bytes of `input` as JSON. 4 MiB by default and at most.
    pub input_bytes: u64,
    /// Runs of this app that one process executes at the same time; further ones wait, or are refused with 429. 256 by
    /// default.
    pub concurrent_runs: u32,
    /// Bytes of a run's log, which holds its events and outputs. 64 MiB by default, 1 GiB at most.
    #[serde(skip_serializing_if = "is_default_run_bytes")]
    pub run_bytes: u64,
    /// Bytes that the app may have stored; beyond it, new runs and uploads are refused. 10 GiB by default, 1 MiB to 1
    /// PiB.
    #[serde(skip_serializing_if = "is_default_stored_bytes")]
    pub stored_bytes: u64,
    /// LLM tokens of a run, sent and received; no limit if absent.
    pub tokens: Option<u64>,
    /// LLM cost of a run in US dollars; no limit if absent.
    pub cost_usd: Option<f64>,
}

const DEFAULT_RUN_BYTES: u64 = 64 << 20;

const DEFAULT_STORED_BYTES: u64 = 10 << 30;

/// The default is not stored, so that earlier releases, which do not know the field, can read the app.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_default_run_bytes(bytes: &u64) -> bool {
    *bytes == DEFAULT_RUN_BYTES
}

/// See [`is_default_run_bytes`].
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_default_stored_bytes(bytes: &u64) -> bool {
    *bytes == DEFAULT_STORED_BYTES
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run_seconds: 900,
            input_bytes: 4 << 20,
            concurrent_runs: 256,
            run_bytes: DEFAULT_RUN_BYTES,
            stored_bytes: DEFAULT_STORED_BYTES,
            tokens: None,
            cost_usd: None,
        }
    }
}

impl Limits {
    /// Returns the lower value of each limit.
    fn within(&self, other: &Self) -> Self {
        /// `None` is unlimited, so the other value is lower.
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
    /// How long a run may take, without the time of waiting for people.
    pub fn longest_run(&self) -> Duration {
        Duration::from_secs(self.limits.run_seconds)
    }

    /// Returns this version restricted to the permissions and limits of `current`, the current version of the same app:
    /// hosts, variables, public access and limits that were removed or lowered since also apply to runs of former
    /// versions. Variables are read from where the current version keeps them.
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

    /// How long a run and all its data are kept, from its creation.
    pub fn lifetime(&self) -> Duration {
        self.longest_run() + Duration::from_secs(u64::from(self.retention_days) * 86_400)
    }
}

/// Finds deployed apps. Results may be cached for up to 15 s.
#[async_trait]
pub trait AppStore: Send + Sync + 'static {
    /// Returns the current version of the app with this host name (lower case, without a port).
    async fn by_host(&self, host: &str) -> Result<Option<Arc<App>>, StoreError>;

    /// Returns one version of an app, even if a later one is current or the app was removed. A former version is
    /// restricted to the permissions of the current one ([`App::within`]).
    async fn version(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError>;

    /// Returns the current version of every app, sorted by name.
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
    fn a_former_version_is_restricted_to_the_permissions_of_the_current_one() {
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
    fn the_default_quota_is_not_stored_so_that_earlier_releases_can_read_the_app() {
        let stored =
            |limits: &Value| serde_json::to_value(&app(&json!({ "limits": limits })).limits).unwrap();
        assert_eq!(stored(&json!({})).get("stored_bytes"), None);
        assert_eq!(stored(&json!({"stored_bytes": 1 << 20}))["stored_bytes"], 1 << 20);
    }
}
