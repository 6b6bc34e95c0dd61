//! Plugs the ports, the engine, the use cases and the API together.

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

/// The app that answers on any host if nobody says which and it is there: the one that shows most.
const SHOWN_FIRST: &str = "ticket-triage";

/// The number of versions that are remembered as checked.
const PASSED: usize = 1_000;

/// How long the process has to live before it executes a run that has lost two workers: whatever ends it sooner is not
/// that run's doing.
const SETTLES_IN: Duration = Duration::from_secs(5);

/// A data directory, without apps and engine.
#[derive(Clone)]
pub(crate) struct Data {
    embedded: Embedded,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Data {
    /// Opens it, made if need be.
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

    /// Gives whether there is such a key.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<bool> {
        Ok(self.embedded.keys().revoke(id).await?)
    }
}

/// All of it.
pub(crate) struct Plugged {
    pub(crate) data: Data,
    pub(crate) service: RunService,
    apps: Arc<Apps>,
    /// What was wrong when the apps were last read, so that it is told once.
    problems: Mutex<Vec<Problem>>,
}

impl Plugged {
    /// Opens the place. Apps with a problem are left out.
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
        .settling(SETTLES_IN);
        // What is read later is checked elsewhere first.
        is_open.store(true, Ordering::Relaxed);
        Ok(Self { data, service, apps, problems: Mutex::new(problems) })
    }

    /// The same, with a limit, in bytes, on the memory of requests and runs together.
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

    /// A client of the API in this process, for one app, with a key that exists nowhere else: who may open the data
    /// directory needs none.
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

    /// The app that answers on a host that names none.
    pub(crate) async fn default_app(&self) -> Result<Option<Arc<App>>> {
        Ok(self.apps.by_host("").await?)
    }

    /// [`Plugged::default_app`], where one is needed.
    pub(crate) async fn needed_default_app(&self) -> Result<Arc<App>> {
        self.default_app().await?.ok_or_else(|| self.nothing_like("there is no app here"))
    }

    pub(crate) async fn app_named(&self, name: &str) -> Result<Arc<App>> {
        let apps = self.list_apps().await?;
        if let Some(app) = apps.iter().find(|app| app.name == name) {
            return Ok(Arc::clone(app));
        }
        let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
        Err(self.nothing_like(&format!("there is no app {name}: choose one of {}", names.join(", "))))
    }

    fn nothing_like(&self, message: &str) -> anyhow::Error {
        let problems: Vec<_> = self.lock_problems().iter().map(|problem| format!("\n  {problem}")).collect();
        usage(format!("{message}{}", problems.concat()))
    }

    /// The app that a stored run is of, if it is stored and the app still there.
    pub(crate) async fn app_of_run(&self, run: Uuid) -> Result<Option<Arc<App>>> {
        let Some(head) = self.data.runs().head(RunId(run)).await? else { return Ok(None) };
        Ok(self.list_apps().await?.into_iter().find(|app| app.id == head.app))
    }

    /// What is wrong with apps.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.lock_problems().clone()
    }

    /// An error if anything is wrong with an app.
    pub(crate) fn refuse_problems(&self) -> Result<()> {
        let problems = self.problems();
        if problems.is_empty() {
            return Ok(());
        }
        let problems: Vec<_> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        bail!("the apps cannot be served:{}", problems.concat())
    }

    /// Reads the apps again, and logs what changed and what is wrong. An app that is wrong stays as it was.
    pub(crate) async fn reload(&self) {
        let before = versions(&self.list_apps().await.unwrap_or_default());
        let apps = Arc::clone(&self.apps);
        let problems = match spawn_blocking(move || apps.reload()).await {
            Ok(Ok(problems)) => problems,
            Ok(Err(error)) => {
                tracing::error!(%error, "the apps stay as they were");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "reading the apps failed; they stay as they were");
                return;
            }
        };
        let now = versions(&self.list_apps().await.unwrap_or_default());
        for (app, version) in &now {
            match before.get(app) {
                None => tracing::info!(%app, "serving a new app"),
                Some(was) if was != version => {
                    tracing::info!(%app, "reloaded; runs under way stay on their version");
                }
                Some(_) => {}
            }
        }
        for app in before.keys().filter(|app| !now.contains_key(*app)) {
            tracing::info!(%app, "the app is gone");
        }
        let mut known = self.lock_problems();
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::error!("{problem} (the app stays as it was)");
        }
        if problems.is_empty() && !known.is_empty() {
            tracing::info!("all apps are right");
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

/// Has the engine look at an app before it is served.
fn check(engine: &Arc<dyn Engine>) -> Check {
    let (engine, runtime) = (Arc::clone(engine), Handle::current());
    // Apps are read on threads that may block.
    Box::new(move |app| runtime.block_on(engine.check_app(app)).map(drop))
}

/// The same check; but once a server `is_open`, an app that has not passed yet is checked in a process of its own first.
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
        if passed.len() >= PASSED {
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
    Ok(apps.iter().any(|app| app.name == SHOWN_FIRST).then(|| SHOWN_FIRST.to_owned()))
}

fn no_apps(place: &Place) -> String {
    format!(
        "no apps from {}: make the folder, with NAME/app.yaml in it, or give another with --apps",
        place.apps.display()
    )
}

/// A store with one key, for this process alone.
struct OneKey(AccessKey);

#[async_trait]
impl KeyStore for OneKey {
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        Ok((id == self.0.id).then(|| self.0.clone()))
    }
}

/// A folder of apps, looked at without a data directory.
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

/// Looks at a folder of apps.
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

/// An app that was looked at.
pub(crate) struct Checked {
    /// Its folder's name.
    pub(crate) name: String,
    /// What keeps it from being served.
    pub(crate) problems: Vec<Problem>,
    /// What stands in its workflow file and is probably not meant.
    pub(crate) warnings: Vec<Warning>,
}

/// What is wrong with these apps, each named or given by its folder; with all if none is.
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

/// What is probably not meant in an app's workflow file; nothing if app.yaml does not even name one.
async fn warnings(engine: &Arc<dyn Engine>, folder: PathBuf) -> Result<Vec<Warning>> {
    let no_check: Check = Box::new(|_| Ok(()));
    let Ok(app) = spawn_blocking(move || Apps::read(&folder, &no_check)).await? else {
        return Ok(Vec::new());
    };
    Ok(engine.warnings(&app).await)
}

/// The folder of an app that is named, or given by its folder.
fn folder_of(apps: &Path, name: &str) -> Result<PathBuf> {
    let by_name = apps.join(name);
    let folder = if by_name.join("app.yaml").is_file() { by_name } else { name.into() };
    if !folder.join("app.yaml").is_file() {
        let apps = apps.display();
        return Err(usage(format!("{name} is neither an app of {apps} nor a folder with an app.yaml")));
    }
    Ok(fs::canonicalize(folder)?)
}

/// An app that is to be served elsewhere, or what is wrong with it. Variables that are not set here are no problem.
#[cfg(feature = "aws")]
pub(crate) async fn read_app(apps: &Path, name: &str) -> Result<Result<App, Vec<Problem>>> {
    let folder = folder_of(apps, name)?;
    let engine: Arc<dyn Engine> = engine::start(Reach::Elsewhere, Vec::new());
    let check = check(&engine);
    Ok(spawn_blocking(move || Apps::read(&folder, &check)).await?)
}

/// The organization that all apps share.
pub(crate) async fn shared_organization(place: &Place) -> Result<OrganizationId> {
    let found = look_at_apps(place).await?;
    only_organization(found.apps.iter(), &place.apps.display().to_string())
}

/// The one organization of these apps, which are at this place.
pub(crate) fn only_organization<'a>(
    apps: impl Iterator<Item = &'a App>,
    place: &str,
) -> Result<OrganizationId> {
    let organizations: BTreeSet<_> = apps.map(|app| app.organization).collect();
    let all: Vec<_> = organizations.iter().map(ToString::to_string).collect();
    match all.len() {
        1 => organizations.first().copied().context("there is one"),
        0 => Err(usage(format!("--org is needed: there is no app in {place}"))),
        _ => Err(usage(format!("--org is needed: the apps have several, {}", all.join(", ")))),
    }
}

/// A data directory, and an app of the place as it is deployed there.
pub(crate) async fn data_and_app(place: &Place, app: &str) -> Result<(Data, Arc<App>)> {
    let plugged = Plugged::open(place, Reach::Loopback).await?;
    let app = plugged.app_named(app).await?;
    Ok((plugged.data.clone(), app))
}

/// Makes a key for an app's organization.
pub(crate) async fn make_key_for(place: &Place, app: &str) -> Result<String> {
    let app = look_at_apps(place).await?.named(app)?.organization;
    let data = Data::open(&place.data)?;
    let (credential, _) = data.create_key(Scope { organization: app, project: None }, None).await?;
    Ok(credential.reveal())
}
