//! Apps: one folder each, with `app.yaml` and a workflow file.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod load;
mod manifest;
mod problem;
mod yaml;

pub use problem::Problem;

use crate::{Embedded, database::Fault, embedded::Shared};
use async_trait::async_trait;
use load::Loaded;
use runyard_runs::{App, AppId, AppStore, BoxError, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// [`AppStore`] on a folder of apps, `<dir>/*/app.yaml`.
///
/// Only [`Apps::open`] and [`Apps::reload`] deploy what is in the files. Each version that was ever current is kept in
/// the database: a run stays on its version.
pub struct Apps {
    dir: PathBuf,
    default_app: Option<String>,
    check: Check,
    home: Arc<Shared>,
    current: RwLock<Arc<Current>>,
    /// Cache of former versions that were requested.
    former: Mutex<HashMap<(AppId, String), Arc<App>>>,
}

/// Checks an app's workflow, which this crate does not parse; an error becomes a problem of the app.
pub type Check = Box<dyn Fn(&App) -> Result<(), BoxError> + Send + Sync>;

/// Maximum number of cached former versions.
const MAX_FORMER: usize = 64;

/// Why apps cannot be read or stored at all.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// The folder cannot be read.
    #[error("cannot read the apps in {path}: {source}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The versions of the apps cannot be stored.
    #[error("cannot store the apps: {0}")]
    Store(#[from] StoreError),
}

#[derive(Default)]
struct Current {
    by_folder: BTreeMap<String, Arc<App>>,
    by_host: HashMap<String, Arc<App>>,
    default: Option<Arc<App>>,
    /// Hosts at which the default app does not answer: those of apps that were removed or have a problem.
    closed: HashSet<String>,
}

impl Apps {
    /// Loads the apps of a folder. `default_app` is the name of the app that answers at all other hosts; without it,
    /// the first app by name does, as long as it exists. An app with a problem is left out; no app answers at its host.
    pub fn open(
        dir: &Path,
        embedded: &Embedded,
        default_app: Option<String>,
    ) -> Result<(Self, Vec<Problem>), AppsError> {
        Self::open_checked(dir, embedded, default_app, Box::new(|_| Ok(())))
    }

    /// [`Apps::open`] with a check: its errors are problems of the app, now and at each reload.
    pub fn open_checked(
        dir: &Path,
        embedded: &Embedded,
        default_app: Option<String>,
        check: Check,
    ) -> Result<(Self, Vec<Problem>), AppsError> {
        let apps = Self {
            dir: dir.to_owned(),
            default_app,
            check,
            home: Arc::clone(embedded.home()),
            current: RwLock::default(),
            former: Mutex::default(),
        };
        let problems = apps.reload()?;
        Ok((apps, problems))
    }

    /// Reads the apps of a folder without deploying them. Returns the valid ones, and the problems of the others.
    pub fn check(dir: &Path) -> Result<(Vec<App>, Vec<Problem>), AppsError> {
        Self::check_with(dir, &(Box::new(|_: &App| Ok(())) as Check))
    }

    /// [`Apps::check`] with a check: its errors are problems of the app.
    pub fn check_with(dir: &Path, check: &Check) -> Result<(Vec<App>, Vec<Problem>), AppsError> {
        let Loaded { apps, problems, .. } = load::load(dir, &BTreeMap::new(), check)?;
        Ok((apps.into_values().map(|app| App::clone(&app)).collect(), problems))
    }

    /// Reads one app from its folder without deploying it. Returns its problems, including errors of `check`.
    pub fn read(folder: &Path, check: &Check) -> Result<App, Vec<Problem>> {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        load::one(folder, &name.unwrap_or_default(), check)
    }

    /// Reads the files again and deploys all apps at once. An app whose files have a problem stays unchanged; one whose
    /// folder was removed no longer answers. Blocks for file access and a write to the database.
    pub fn reload(&self) -> Result<Vec<Problem>, AppsError> {
        let before = self.current();
        let Loaded { apps, mut problems } = load::load(&self.dir, &before.by_folder, &self.check)?;
        let is_known = |app: &Arc<App>| {
            before.by_folder.values().any(|known| known.id == app.id && known.version == app.version)
        };
        let new: Vec<_> = apps.values().filter(|app| !is_known(app)).cloned().collect();
        if !new.is_empty() {
            self.home.database.write_blocking(move |connection| store(connection, &new))?;
        }
        let mut by_name: Vec<_> = apps.values().collect();
        by_name.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let default = match &self.default_app {
            // The default app does not change when a folder is added.
            None => {
                let is_default =
                    |app: &&&Arc<App>| before.default.as_ref().is_some_and(|known| known.id == app.id);
                by_name.iter().find(is_default).or(by_name.first()).copied()
            }
            Some(name) => {
                let named = by_name.iter().find(|app| app.name == *name).copied();
                if named.is_none() {
                    problems.push(load::no_default(&self.dir, name, &by_name));
                }
                named
            }
        };
        // A host at which an app answered, or would answer if it were valid, never falls to the default app.
        let mut closed = before.closed.clone();
        closed.extend(before.by_host.keys().cloned());
        closed.extend(problems.iter().filter_map(|problem| load::host_of_folder(&self.dir, &problem.path)));
        let current = Current {
            default: default.cloned(),
            closed,
            by_host: apps
                .values()
                .flat_map(|app| load::hosts(app).map(|host| (host, Arc::clone(app))))
                .collect(),
            by_folder: apps,
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
        Ok(problems)
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl AppStore for Apps {
    async fn by_host(&self, host: &str) -> Result<Option<Arc<App>>, StoreError> {
        let current = self.current();
        let default = current.default.as_ref().filter(|_| !current.closed.contains(host));
        Ok(current.by_host.get(host).or(default).cloned())
    }

    async fn version(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError> {
        let current = self.current();
        let Some((folder, current)) = current.by_folder.iter().find(|(_, found)| found.id == app) else {
            return self.former(app, version).await;
        };
        if current.version == version {
            return Ok(Some(Arc::clone(current)));
        }
        let Some(found) = self.former(app, version).await? else { return Ok(None) };
        // Another process may have read the files later than this one.
        let (path, name) = (self.dir.join(folder), folder.clone());
        let now = tokio::task::spawn_blocking(move || load::read(&path, &name).map(|app| app.version)).await;
        let is_newer = matches!(now, Ok(Ok(now)) if now == version);
        Ok(Some(if is_newer { found } else { found.within(current) }))
    }

    async fn list(&self) -> Result<Vec<Arc<App>>, StoreError> {
        let mut apps: Vec<_> = self.current().by_folder.values().cloned().collect();
        apps.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(apps)
    }
}

impl Apps {
    /// Returns a version that is not current, as it was deployed.
    async fn former(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError> {
        let key = (app, version.to_owned());
        if let Some(found) = self.former.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Some(Arc::clone(found)));
        }
        let wanted = key.clone();
        let found = self.home.database.read(move |connection| find(connection, wanted.0, &wanted.1)).await?;
        let Some(found) = found.map(Arc::new) else { return Ok(None) };
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        if former.len() >= MAX_FORMER {
            former.clear();
        }
        former.insert(key, Arc::clone(&found));
        Ok(Some(found))
    }
}

fn store(connection: &Connection, apps: &[Arc<App>]) -> Result<(), Fault> {
    for app in apps {
        connection.execute(
            "INSERT OR IGNORE INTO app_versions (app, version, content) VALUES (?1, ?2, ?3)",
            params![app.id.0, app.version, serde_json::to_string(app)?],
        )?;
    }
    Ok(())
}

fn find(connection: &Connection, app: AppId, version: &str) -> Result<Option<App>, Fault> {
    let content: Option<String> = connection
        .query_row(
            "SELECT content FROM app_versions WHERE app = ?1 AND version = ?2",
            params![app.0, version],
            |row| row.get(0),
        )
        .optional()?;
    Ok(content.map(|content| serde_json::from_str(&content)).transpose()?)
}
