//! The domain's port `Engine`: takes apps and runs, returns outcomes.

use crate::{
    compute,
    egress::{Egress, Http},
    flow::{Cache, params},
    job::JobRunner,
    load::{self, LoadErrors, Loaded, Mistake, Refusal, is_reserved},
    python::PythonRunner,
    secrets::{Gather, SHORTEST},
    services::{Memories, Services},
    vectors::Memory,
    workflow::{RunResults, Workflow, with_files},
};
use async_trait::async_trait;
use runyard_runs::{
    App, AppId, BoxError, FieldErrors, File, InputRequest, MemoryStore, Outcome, RunContext, RunError,
    Warning,
};
use serde_json::{Map, Value};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

/// Compiled versions of apps that are kept, and as many HTTP clients.
const MAX_KEPT: usize = 256;

/// Reads an environment variable for an app: its value, `None` if it is not set, or why it cannot be read.
pub type ReadEnv = Arc<dyn Fn(&App, &str) -> Result<Option<String>, String> + Send + Sync>;

/// What an [`Engine`] needs.
#[derive(Clone)]
pub struct EngineConfig {
    /// Runs the code of Python nodes.
    pub python: Arc<dyn PythonRunner>,
    /// Performs jobs: work on data that one call of a library does.
    pub jobs: Arc<dyn JobRunner>,
    /// Reads environment variables. An app can read only those that it declares, and never the platform's (`AWS_…`) or
    /// Runyard's own (`RUNYARD_…`). If a value changes, the app is reloaded for the next run.
    pub env: ReadEnv,
    /// Whether nodes may reach loopback addresses even if the app does not allow it; for a developer's machine.
    pub allow_loopback: bool,
    /// Whether an app may read any environment variable; for `runyard exec`, which runs the user's own file.
    pub any_env: bool,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("allow_loopback", &self.allow_loopback)
            .field("any_env", &self.any_env)
            .finish_non_exhaustive()
    }
}

/// Runs workflows. Cheap to create: clients and compiled apps are created on first use.
pub struct Engine {
    config: EngineConfig,
    compiled: Mutex<HashMap<(AppId, String), Arc<Compiled>>>,
    env_hasher: RandomState,
    /// Apps with the same egress policy share their connections.
    http: Mutex<HashMap<Egress, Http>>,
    /// Documents that apps store in memory.
    documents: Arc<Memory>,
    /// Hosts that every app may call, whatever they resolve to.
    allow_hosts: Vec<String>,
    memories: Memories,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One version of an app, ready to run.
#[derive(Debug)]
struct Compiled {
    workflow: Workflow,
    warnings: Vec<Mistake>,
    services: Services,
    /// The variables that it was loaded with, and a hash of their values.
    env: Vec<String>,
    env_hash: u64,
    /// The app's permissions when it was loaded. An older version has to be reloaded once the operator changes them.
    allow_hosts: Vec<String>,
    declared: Vec<String>,
}

impl Compiled {
    /// Whether the app's permissions and limits are still those that it was loaded with.
    fn has_permissions_of(&self, app: &App) -> bool {
        self.allow_hosts == app.allow_hosts && self.declared == app.env && self.services.limits == app.limits
    }
}

impl Engine {
    /// An engine without compiled apps; it does no I/O.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            compiled: Mutex::default(),
            env_hasher: RandomState::new(),
            http: Mutex::default(),
            documents: Arc::default(),
            allow_hosts: Vec::new(),
            memories: Memories::default(),
        }
    }

    /// This engine, with hosts that every app may call even if they resolve to loopback, link-local or private
    /// addresses.
    pub fn allowing(self, allow_hosts: Vec<String>) -> Self {
        Self { allow_hosts, ..self }
    }

    /// Sets the store of agents' memories. Without one, they last as long as the engine. Call it once, before any run:
    /// a later store is ignored.
    pub fn remember_in(&self, store: Arc<dyn MemoryStore>) {
        self.memories.set(store);
    }

    /// Executes a run as [`runyard_runs::Engine::execute`] does, and returns every node's result in the reference's
    /// shape; for `runyard exec`.
    pub async fn results(&self, app: &App, run: &RunContext) -> Result<RunResults, LoadErrors> {
        let compiled = self.compiled(app)?;
        Ok(compiled.workflow.results(run, &compiled.services).await)
    }

    /// Loads the app's workflow, and returns its warnings. The error lists everything that is wrong with the file.
    pub fn check(&self, app: &App) -> Result<Vec<Mistake>, LoadErrors> {
        self.compiled(app).map(|compiled| compiled.warnings.clone())
    }

    fn compiled(&self, app: &App) -> Result<Arc<Compiled>, LoadErrors> {
        let key = (app.id, app.version.clone());
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&key).cloned();
        if let Some(compiled) = known
            && compiled.has_permissions_of(app)
            && compiled.env_hash == self.env_hash(app, &compiled.env)
        {
            return Ok(compiled);
        }
        let compiled = Arc::new(self.compile(app)?);
        let mut kept = lock();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    fn http(&self, app: &App) -> Http {
        let mut allow_hosts: Vec<String> =
            app.allow_hosts.iter().chain(&self.allow_hosts).map(|host| host.to_ascii_lowercase()).collect();
        allow_hosts.sort();
        allow_hosts.dedup();
        let egress = Egress { allow_hosts, allow_loopback: self.config.allow_loopback };
        let mut known = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        known.entry(egress.clone()).or_insert_with(|| Http::new(egress)).clone()
    }

    fn compile(&self, app: &App) -> Result<Compiled, LoadErrors> {
        let read = Mutex::new(BTreeMap::new());
        let env = |name: &str| {
            if !self.config.any_env {
                if is_reserved(name) {
                    return Err(Refusal::Forbidden(format!("`{name}` may not be read by an app")));
                }
                if !app.env.iter().any(|declared| declared == name) {
                    let why = format!("`{name}` is not declared; add it to `env` in app.yaml");
                    return Err(Refusal::Forbidden(why));
                }
            }
            let value = (self.config.env)(app, name);
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(name.to_owned(), value.clone());
            value.map_err(Refusal::Unreadable)
        };
        let loaded = load::load(&app.workflow, &app.requirements, &env);
        let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Loaded { workflow, warnings, root } =
            loaded.map_err(|errors| without_secrets(errors, app, &read).shortened())?;
        let mut secrets = Gather::default();
        for (name, value) in &read {
            if let Ok(Some(value)) = value {
                secrets.variable(name, value, app.secrets.contains_key(name));
            }
        }
        secrets.file(&root);
        let secrets = Arc::new(secrets.done());
        let services = Services {
            python: Arc::clone(&self.config.python),
            jobs: Arc::clone(&self.config.jobs),
            http: self.http(app).with_secrets(Arc::clone(&secrets)),
            secrets,
            documents: Arc::clone(&self.documents),
            limits: app.limits.clone(),
            prices: app.prices.clone(),
            cache: app.cache.map(Cache::new),
            memories: self.memories.clone(),
        };
        let env_hash = self.env_hasher.hash_one(read.values().collect::<Vec<_>>());
        Ok(Compiled {
            workflow,
            warnings,
            services,
            env: read.into_keys().collect(),
            env_hash,
            allow_hosts: app.allow_hosts.clone(),
            declared: app.env.clone(),
        })
    }

    fn env_hash(&self, app: &App, names: &[String]) -> u64 {
        let values: Vec<_> = names.iter().map(|name| (self.config.env)(app, name)).collect();
        self.env_hasher.hash_one(values.iter().collect::<Vec<_>>())
    }
}

/// Masks values from the environment in load errors: an error may quote a value that is in the wrong place.
fn without_secrets(
    mut errors: LoadErrors,
    app: &App,
    read: &BTreeMap<String, Result<Option<String>, String>>,
) -> LoadErrors {
    let min_bytes = |name: &str| if app.secrets.contains_key(name) { 1 } else { SHORTEST };
    let values = read.iter().filter_map(|(name, value)| Some((name, value.as_ref().ok()?.as_deref()?)));
    let mut values: Vec<(&String, &str)> =
        values.filter(|(name, value)| value.len() >= min_bytes(name)).collect();
    values.sort_by_key(|(_, value)| Reverse(value.len()));
    for (name, value) in values {
        for mistake in errors.mistakes.iter_mut().chain(&mut errors.warnings) {
            mistake.message = mistake.message.replace(value, &format!("${{oc.env:{name}}}"));
        }
    }
    errors
}

fn shown(app: &App, warnings: Vec<Mistake>) -> Vec<Warning> {
    let shown = |warning: Mistake| Warning {
        file: app.workflow.file.clone(),
        line: warning.spot.line,
        column: warning.spot.column,
        message: warning.message,
    };
    warnings.into_iter().map(shown).collect()
}

#[async_trait]
impl runyard_runs::Engine for Engine {
    async fn check_app(&self, app: &App) -> Result<Vec<Warning>, BoxError> {
        Ok(shown(app, self.check(app)?))
    }

    async fn warnings(&self, app: &App) -> Vec<Warning> {
        shown(app, self.check(app).unwrap_or_else(|errors| errors.warnings))
    }

    async fn check_input(
        &self,
        app: &App,
        input: &Map<String, Value>,
        files: &[File],
    ) -> Result<(), FieldErrors> {
        match self.compiled(app) {
            Ok(compiled) => {
                if compiled.workflow.input_schemas().next().is_none() {
                    return Ok(());
                }
                compiled.workflow.check_input(&Value::Object(with_files(input, files).into_owned()))
            }
            // An app that does not load is refused on deployment; a run of such an app fails with the reason.
            Err(_) => Ok(()),
        }
    }

    fn check_params(&self, asked: &InputRequest, changed: &Map<String, Value>) -> Result<(), FieldErrors> {
        let errors = compute::block_in_place(|| params::check(asked, changed));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    async fn execute(&self, app: &App, run: RunContext) -> Outcome {
        match self.compiled(app) {
            Ok(compiled) => compiled.workflow.execute(&run, &compiled.services).await,
            Err(errors) => Outcome::Failed(RunError::new("invalid_workflow", errors.to_string())),
        }
    }
}
