//! Connects the ports, the engine, the use cases and the API.

use crate::{check, cli::Place, client::Client, exit::usage};
use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use axum::Router;
use runyard_boot::engine::{self, Reach};
use runyard_embedded::{Apps, Check, Embedded, Options, Problem, Queue, Runs};
use runyard_http::{Config, Http};
use runyard_runs::{
    AccessKey, App, AppStore, Clock, Credential, Engine, Ids, KeyStore, OrganizationId, ProcessStreams,
    RunId, RunService, RunStore, Scope, StoreError, SystemClock, SystemIds, Timestamp, Warning,
    service::Ports,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, task::spawn_blocking};
use uuid::Uuid;

/// The default app if none is configured and this one exists: the example that shows most features.
const PREFERRED_DEFAULT: &str = "ticket-triage";

/// Number of versions that are remembered as checked.
const MAX_CHECKED_VERSIONS: usize = 1_000;

/// How long the process must have lived before it executes a run that has lost two workers: a crash before that is not
/// caused by the run.
const SETTLING_TIME: Duration = Duration::from_secs(5);

/// A data directory, without apps and engine.
#[derive(Clone)]
pub(crate) struct Data {
    embedded: Embedded,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Data {
    /// Opens the data directory; creates it if it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        let embedded = Embedded::open(path, Arc::clone(&clock), &*ids, Options::default())?;
        Ok(Self { embedded, clock, ids })
    }

    pub(crate) fn runs(&self) -> Arc<Runs> {
        self.embedded.runs()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn create_key(
        &self,
        scope: Scope,
        expires_at: Option<Timestamp>,
    ) -> Result<(Credential, AccessKey)> {
        Ok(self.embedded.keys().create(&*self.ids, scope, expires_at).await?)
    }

    pub(crate) async fn find_key(&self, id: &str) -> Result<Option<AccessKey>> {
        Ok(self.embedded.keys().find(id).await?)
    }

    pub(crate) async fn list_keys(&self) -> Result<Vec<AccessKey>> {
        Ok(self.embedded.keys().list().await?)
    }

    /// Returns whether the key exists.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<bool> {
        Ok(self.embedded.keys().revoke(id).await?)
    }
}

/// The data directory with everything that works on it: apps, engine and use cases.
pub(crate) struct Plugged {
    pub(crate) data: Data,
    pub(crate) service: RunService,
    apps: Arc<Apps>,
    /// The errors when the apps were last read, so that each is logged once.
    problems: Mutex<Vec<Problem>>,
}

impl Plugged {
    /// Opens apps and data. Apps with an error are left out.
    pub(crate) async fn open(place: &Place, reach: Reach) -> Result<Self> {
        let data = Data::open(&place.data)?;
        let engine = engine::start(reach, Vec::new());
        engine.remember_in(data.embedded.memories());
        let engine: Arc<dyn Engine> = engine;
        let is_open = Arc::<AtomicBool>::default();
        let opened = {
            let check = first_elsewhere(check(&engine), Arc::clone(&is_open));
            let (place, data) = (place.clone(), data.clone());
            spawn_blocking(move || {
                let default_app = default_app_name(&place)?;
                Apps::open_checked(&place.apps, &data.embedded, default_app, check)
                    .map_err(anyhow::Error::from)
            })
            .await?
        };
        let (apps, problems) = opened.with_context(|| no_apps(place))?;
        let apps = Arc::new(apps);
        let service = RunService::new(Ports {
            runs: data.embedded.runs(),
            files: data.embedded.files(),
            usage: data.embedded.usage(),
            queue: data.embedded.queue(),
            apps: Arc::<Apps>::clone(&apps),
            engine,
            clock: Arc::clone(&data.clock),
            ids: Arc::clone(&data.ids),
        })
        .settling(SETTLING_TIME);
        // From now on, changed apps are checked in a separate process first.
        is_open.store(true, Ordering::Relaxed);
        Ok(Self { data, service, apps, problems: Mutex::new(problems) })
    }

    /// Sets the limit, in bytes, on the memory of requests and runs together.
    pub(crate) fn with_memory(self, bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { service: self.service.with_memory(bytes), ..self }
    }

    /// The API.
    pub(crate) fn router(&self) -> Router {
        self.router_with(self.data.embedded.keys())
    }

    fn router_with(&self, keys: Arc<dyn KeyStore>) -> Router {
        runyard_http::router(Http {
            service: self.service.clone(),
            apps: Arc::<Apps>::clone(&self.apps),
            keys,
            files: self.data.embedded.files(),
            streams: Arc::<ProcessStreams>::default(),
            clock: Arc::clone(&self.data.clock),
            ids: Arc::clone(&self.data.ids),
            config: Config::default(),
        })
    }

    /// A client of the API in this process, for one app. It has a temporary key that is not stored: anyone who may open
    /// the data directory needs no key.
    pub(crate) fn client_for(&self, app: &App) -> Client {
        let scope = Scope { organization: app.organization, project: None };
        let (credential, key) = Credential::generate(&*self.data.ids, scope, self.data.now(), None);
        let router = self.router_with(Arc::new(OneKey(key)));
        Client::here(router, credential.reveal(), format!("{}.localhost", app.name))
    }

    pub(crate) fn queue(&self) -> Arc<Queue> {
        self.data.embedded.queue()
    }

    pub(crate) fn ids(&self) -> Arc<dyn Ids> {
        Arc::clone(&self.data.ids)
    }

    pub(crate) async fn suspect_dead_workers(&self) -> Result<usize, StoreError> {
        self.data.embedded.suspect_dead_workers().await
    }

    /// The apps that are served, by name.
    pub(crate) async fn list_apps(&self) -> Result<Vec<Arc<App>>> {
        Ok(self.apps.list().await?)
    }

    /// The app for hosts that name none.
    pub(crate) async fn default_app(&self) -> Result<Option<Arc<App>>> {
        Ok(self.apps.by_host("").await?)
    }

    /// [`Plugged::default_app`]; a usage error if there is none.
    pub(crate) async fn needed_default_app(&self) -> Result<Arc<App>> {
        self.default_app().await?.ok_or_else(|| self.not_found("there is no app here"))
    }

    pub(crate) async fn app_named(&self, name: &str) -> Result<Arc<App>> {
        let apps = self.list_apps().await?;
        if let Some(app) = apps.iter().find(|app| app.name == name) {
            return Ok(Arc::clone(app));
        }
        let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
        Err(self.not_found(&format!("there is no app {name}: choose one of {}", names.join(", "))))
    }

    fn not_found(&self, message: &str) -> anyhow::Error {
        let problems: Vec<_> = self.lock_problems().iter().map(|problem| format!("\n  {problem}")).collect();
        usage(format!("{message}{}", problems.concat()))
    }

    /// The app of a run, if both exist.
    pub(crate) async fn app_of_run(&self, run: Uuid) -> Result<Option<Arc<App>>> {
        let Some(head) = self.data.runs().head(RunId(run)).await? else { return Ok(None) };
        Ok(self.list_apps().await?.into_iter().find(|app| app.id == head.app))
    }

    /// The errors in apps.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.lock_problems().clone()
    }

    /// Fails if any app has an error.
    pub(crate) fn refuse_problems(&self) -> Result<()> {
        let problems = self.problems();
        if problems.is_empty() {
            return Ok(());
        }
        let problems: Vec<_> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        bail!("the apps cannot be served:{}", problems.concat())
    }

    /// Reads the apps again, and logs changes and errors. An app with an error stays on its last valid version.
    pub(crate) async fn reload(&self) {
        let before = versions(&self.list_apps().await.unwrap_or_default());
        let apps = Arc::clone(&self.apps);
        let problems = match spawn_blocking(move || apps.reload()).await {
            Ok(Ok(problems)) => problems,
            Ok(Err(error)) => {
                tracing::error!(%error, "reload failed: the apps are unchanged");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "reload failed: the apps are unchanged");
                return;
            }
        };
        let now = versions(&self.list_apps().await.unwrap_or_default());
        for (app, version) in &now {
            match before.get(app) {
                None => tracing::info!(%app, "serving a new app"),
                Some(was) if was != version => {
                    tracing::info!(%app, "app reloaded; running runs stay on their version");
                }
                Some(_) => {}
            }
        }
        for app in before.keys().filter(|app| !now.contains_key(*app)) {
            tracing::info!(%app, "app removed");
        }
        let mut known = self.lock_problems();
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::error!("{problem} (the app is unchanged)");
        }
        if problems.is_empty() && !known.is_empty() {
            tracing::info!("all apps are valid");
        }
        *known = problems;
    }

    fn lock_problems(&self) -> std::sync::MutexGuard<'_, Vec<Problem>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn versions(apps: &[Arc<App>]) -> BTreeMap<String, String> {
    apps.iter().map(|app| (app.name.clone(), app.version.clone())).collect()
}

/// Returns a check by the engine of an app that is about to be served.
fn check(engine: &Arc<dyn Engine>) -> Check {
    let (engine, runtime) = (Arc::clone(engine), Handle::current());
    // Apps are read on threads that may block.
    Box::new(move |app| runtime.block_on(engine.check_app(app)).map(drop))
}

/// Extends `check`: once a server `is_open`, a version that has not passed yet is checked in a separate process first.
fn first_elsewhere(check: Check, is_open: Arc<AtomicBool>) -> Check {
    let passed = Mutex::new(HashSet::new());
    Box::new(move |app| {
        let lock = || passed.lock().unwrap_or_else(PoisonError::into_inner);
        let version = (app.id, app.version.clone());
        if is_open.load(Ordering::Relaxed) && !lock().contains(&version) {
            check::elsewhere(app)?;
        }
        check(app)?;
        let mut passed = lock();
        if passed.len() >= MAX_CHECKED_VERSIONS {
            passed.clear();
        }
        passed.insert(version);
        Ok(())
    })
}

fn default_app_name(place: &Place) -> Result<Option<String>> {
    if place.default_app.is_some() {
        return Ok(place.default_app.clone());
    }
    let (apps, _) = Apps::check(&place.apps)?;
    Ok(apps.iter().any(|app| app.name == PREFERRED_DEFAULT).then(|| PREFERRED_DEFAULT.to_owned()))
}

fn no_apps(place: &Place) -> String {
    format!(
        "cannot read apps from {}: create the folder, with NAME/app.yaml in it, or choose another with --apps",
        place.apps.display()
    )
}

/// A store with a single key that exists in this process only.
struct OneKey(AccessKey);

#[async_trait]
impl KeyStore for OneKey {
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        Ok((id == self.0.id).then(|| self.0.clone()))
    }
}

/// The apps of a folder, read without a data directory, and the errors in them.
pub(crate) struct Found {
    pub(crate) apps: Vec<App>,
    pub(crate) problems: Vec<Problem>,
}

impl Found {
    pub(crate) fn named(&self, name: &str) -> Result<&App> {
        self.apps.iter().find(|app| app.name == name).ok_or_else(|| {
            let names: Vec<_> = self.apps.iter().map(|app| app.name.as_str()).collect();
            let problems: Vec<_> = self.problems.iter().map(|problem| format!("\n  {problem}")).collect();
            usage(format!("there is no app {name}: choose one of {}{}", names.join(", "), problems.concat()))
        })
    }
}

/// Reads and checks a folder of apps.
pub(crate) async fn look_at_apps(place: &Place) -> Result<Found> {
    look(&place.apps).await.with_context(|| no_apps(place))
}

async fn look(folder: &Path) -> Result<Found> {
    look_with(&(engine::start(Reach::Loopback, Vec::new()) as Arc<dyn Engine>), folder).await
}

async fn look_with(engine: &Arc<dyn Engine>, folder: &Path) -> Result<Found> {
    let check = check(engine);
    let folder = folder.to_owned();
    let (mut apps, problems) = spawn_blocking(move || Apps::check_with(&folder, &check)).await??;
    apps.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(Found { apps, problems })
}

/// The result of checking an app.
pub(crate) struct Checked {
    /// The name of the app's folder.
    pub(crate) name: String,
    /// Errors that keep the app from being served.
    pub(crate) problems: Vec<Problem>,
    /// Parts of the workflow file that are probably not meant.
    pub(crate) warnings: Vec<Warning>,
}

/// Checks these apps, each given by name or folder; all apps if `which` is empty.
pub(crate) async fn check_apps(place: &Place, which: &[String]) -> Result<Vec<Checked>> {
    let mut folders = Vec::new();
    if which.is_empty() {
        for entry in fs::read_dir(&place.apps).with_context(|| no_apps(place))? {
            folders.push(entry?.path());
        }
        folders.retain(|folder| folder.join("app.yaml").is_file());
        folders.sort_unstable();
    }
    for name in which {
        folders.push(folder_of(&place.apps, name)?);
    }
    let engine: Arc<dyn Engine> = engine::start(Reach::Loopback, Vec::new());
    let mut found = BTreeMap::new();
    let mut checked = Vec::new();
    for folder in folders {
        let parent = folder.parent().context("an app is a folder in a folder")?.to_owned();
        if !found.contains_key(&parent) {
            found.insert(parent.clone(), look_with(&engine, &parent).await?);
        }
        let problems = found[&parent].problems.iter().filter(|problem| problem.path.starts_with(&folder));
        let problems: Vec<Problem> = problems.cloned().collect();
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let warnings = warnings(&engine, folder).await?;
        checked.push(Checked { name, problems, warnings });
    }
    Ok(checked)
}

/// The warnings about an app's workflow file; none if app.yaml does not name a readable one.
async fn warnings(engine: &Arc<dyn Engine>, folder: PathBuf) -> Result<Vec<Warning>> {
    let no_check: Check = Box::new(|_| Ok(()));
    let Ok(app) = spawn_blocking(move || Apps::read(&folder, &no_check)).await? else {
        return Ok(Vec::new());
    };
    Ok(engine.warnings(&app).await)
}

/// The folder of an app, given by name or folder.
fn folder_of(apps: &Path, name: &str) -> Result<PathBuf> {
    let by_name = apps.join(name);
    let folder = if by_name.join("app.yaml").is_file() { by_name } else { name.into() };
    if !folder.join("app.yaml").is_file() {
        let apps = apps.display();
        return Err(usage(format!("{name} is neither an app of {apps} nor a folder with an app.yaml")));
    }
    Ok(fs::canonicalize(folder)?)
}

/// Reads an app that will be served elsewhere, or returns its errors. Variables may be unset on this machine.
#[cfg(feature = "aws")]
pub(crate) async fn read_app(apps: &Path, name: &str) -> Result<Result<App, Vec<Problem>>> {
    let folder = folder_of(apps, name)?;
    let engine: Arc<dyn Engine> = engine::start(Reach::Elsewhere, Vec::new());
    let check = check(&engine);
    Ok(spawn_blocking(move || Apps::read(&folder, &check)).await?)
}

/// The organization that all apps share; a usage error if there is not exactly one.
pub(crate) async fn shared_organization(place: &Place) -> Result<OrganizationId> {
    let found = look_at_apps(place).await?;
    only_organization(found.apps.iter(), &place.apps.display().to_string())
}

/// The only organization of these apps; a usage error, which names `place`, if there is not exactly one.
pub(crate) fn only_organization<'a>(
    apps: impl Iterator<Item = &'a App>,
    place: &str,
) -> Result<OrganizationId> {
    let organizations: BTreeSet<_> = apps.map(|app| app.organization).collect();
    let all: Vec<_> = organizations.iter().map(ToString::to_string).collect();
    match all.len() {
        1 => organizations.first().copied().context("there is one"),
        0 => Err(usage(format!("--org cannot be omitted: there is no app in {place}"))),
        _ => Err(usage(format!("--org cannot be omitted: choose one of {}", all.join(", ")))),
    }
}

/// Opens the data directory of `place`, and finds an app by name.
pub(crate) async fn data_and_app(place: &Place, app: &str) -> Result<(Data, Arc<App>)> {
    let plugged = Plugged::open(place, Reach::Loopback).await?;
    let app = plugged.app_named(app).await?;
    Ok((plugged.data.clone(), app))
}

/// Creates a key for an app's organization.
pub(crate) async fn make_key_for(place: &Place, app: &str) -> Result<String> {
    let app = look_at_apps(place).await?.named(app)?.organization;
    let data = Data::open(&place.data)?;
    let (credential, _) = data.create_key(Scope { organization: app, project: None }, None).await?;
    Ok(credential.reveal())
}
