//! Reading a folder of apps.

use super::{
    AppsError, Check, Problem,
    manifest::{self, Manifest},
    problem::Complaint,
};
use runyard_runs::{App, WorkflowSource};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// The largest `app.yaml` in bytes.
const MANIFEST_BYTES: u64 = 64 << 10;

/// The largest workflow file in bytes.
const WORKFLOW_BYTES: u64 = 4 << 20;

/// What a folder of apps holds, by the apps' folders.
pub(super) struct Loaded {
    pub(super) apps: BTreeMap<String, Arc<App>>,
    pub(super) problems: Vec<Problem>,
}

/// Reads every `<dir>/*/app.yaml`. An app with a problem is as it was `before`, if it was there.
pub(super) fn load(
    dir: &Path,
    before: &BTreeMap<String, Arc<App>>,
    check: &Check,
) -> Result<Loaded, AppsError> {
    let mut loaded = Loaded { apps: BTreeMap::new(), problems: Vec::new() };
    let mut taken = Taken::default();
    for folder in folders(dir).map_err(|source| AppsError::Folder { path: dir.to_owned(), source })? {
        let path = dir.join(&folder);
        let app = match one(&path, &folder, check) {
            Ok(app) => Some(Arc::new(app)).filter(|app| match taken.by_another(app) {
                None => true,
                Some(clash) => {
                    loaded.problems.push(Complaint::of_file(clash).about(&path.join("app.yaml")));
                    false
                }
            }),
            Err(mut problems) => {
                loaded.problems.append(&mut problems);
                None
            }
        };
        let as_before = || before.get(&folder).filter(|app| taken.by_another(app).is_none()).cloned();
        if let Some(app) = app.or_else(as_before) {
            taken.add(&app, &folder);
            loaded.apps.insert(folder, app);
        }
    }
    Ok(loaded)
}

/// The hosts that an app answers on.
pub(super) fn hosts(app: &App) -> impl Iterator<Item = String> + '_ {
    [format!("{}.localhost", app.name.to_lowercase())].into_iter().chain(app.hosts.iter().cloned())
}

pub(super) fn no_default(dir: &Path, name: &str, apps: &[&Arc<App>]) -> Problem {
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    let message =
        format!("the default app \"{name}\" is not among the apps: choose one of {}", names.join(", "));
    Complaint::of_file(message).about(dir)
}

/// What only one app can have, and whose it is.
#[derive(Default)]
struct Taken(HashMap<String, String>);

impl Taken {
    fn things(app: &App) -> impl Iterator<Item = String> + '_ {
        [format!("id {}", app.id)].into_iter().chain(hosts(app).map(|host| format!("host {host}")))
    }

    fn by_another(&self, app: &App) -> Option<String> {
        let (thing, folder) = Self::things(app).find_map(|thing| self.0.get_key_value(&thing))?;
        Some(format!("{thing} is that of the app in \"{folder}\" already: each app has its own"))
    }

    fn add(&mut self, app: &App, folder: &str) {
        self.0.extend(Self::things(app).map(|thing| (thing, folder.to_owned())));
    }
}

/// The names of the folders that hold an `app.yaml`, sorted.
fn folders(dir: &Path) -> io::Result<Vec<String>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().join("app.yaml").is_file()
        {
            folders.push(name);
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

/// The app of one folder, with this name.
pub(super) fn one(path: &Path, folder: &str, check: &Check) -> Result<App, Vec<Problem>> {
    let app = read(path, folder)?;
    let wrong = |error: runyard_runs::BoxError| {
        vec![Complaint::of_file(error.to_string()).about(&path.join(&app.workflow.file))]
    };
    check(&app).map_err(wrong)?;
    Ok(app)
}

fn read(path: &Path, folder: &str) -> Result<App, Vec<Problem>> {
    let file = path.join("app.yaml");
    let text = read_text(&file, MANIFEST_BYTES).map_err(|complaint| vec![complaint.about(&file)])?;
    let manifest = manifest::read(&text, folder).map_err(|complaints| {
        complaints.into_iter().map(|complaint| complaint.about(&file)).collect::<Vec<_>>()
    })?;
    let file = path.join(&manifest.workflow_file);
    let text = read_text(&file, WORKFLOW_BYTES).map_err(|complaint| vec![complaint.about(&file)])?;
    Ok(app(manifest, &text))
}

fn app(manifest: Manifest, workflow: &str) -> App {
    let Manifest {
        id,
        project,
        organization,
        name,
        public,
        hosts,
        limits,
        retention_days,
        env,
        secrets,
        allow_hosts,
        requirements,
        prices,
        cache,
        ..
    } = manifest;
    let workflow =
        WorkflowSource { file: manifest.workflow_file, id: manifest.workflow_id, text: Arc::from(workflow) };
    let mut app = App {
        id,
        project,
        organization,
        name,
        public,
        hosts,
        version: String::new(),
        workflow,
        limits,
        retention_days,
        env,
        secrets,
        allow_hosts,
        requirements,
        prices,
        cache,
    };
    app.version = version(&app);
    app
}

/// The version of an app whose `version` is not set: the first 16 bytes of a SHA-256 over all of it.
fn version(app: &App) -> String {
    let all = serde_json::to_vec(app).unwrap_or_default();
    Sha256::digest(all)[..16].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_text(file: &Path, most: u64) -> Result<String, Complaint> {
    let unreadable = |error: io::Error| Complaint::of_file(unreadable(&error));
    // What is no file may never end, or never begin.
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(Complaint::of_file("this is no file: put one there"));
    }
    let mut text = String::new();
    // It may grow while it is read: more than the limit is not read in any case.
    let read = fs::File::open(file).and_then(|file| file.take(most + 1).read_to_string(&mut text));
    if text.len() as u64 > most || fs::metadata(file).is_ok_and(|metadata| metadata.len() > most) {
        return Err(Complaint::of_file(format!(
            "the file has more than {most} bytes, which is the most that is read"
        )));
    }
    read.map_err(unreadable)?;
    Ok(text)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: put it there, or name another".to_owned(),
        io::ErrorKind::InvalidData => "the file is not UTF-8: save it as UTF-8".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    }
}
