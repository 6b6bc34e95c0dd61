//! Reads a folder of apps.

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

/// Maximum size of `app.yaml`.
const MAX_MANIFEST_BYTES: u64 = 64 << 10;

/// Maximum size of a workflow file.
const MAX_WORKFLOW_BYTES: u64 = 4 << 20;

/// The apps of a folder, by the names of their own folders, and the problems found.
pub(super) struct Loaded {
    pub(super) apps: BTreeMap<String, Arc<App>>,
    pub(super) problems: Vec<Problem>,
}

/// Reads every `<dir>/*/app.yaml`. An app with a problem stays as it was in `before`, if it is there.
pub(super) fn load(
    dir: &Path,
    before: &BTreeMap<String, Arc<App>>,
    check: &Check,
) -> Result<Loaded, AppsError> {
    let mut problems = BTreeMap::<String, Vec<Problem>>::new();
    let mut read = BTreeMap::new();
    let folders = folders(dir).map_err(|source| AppsError::Folder { path: dir.to_owned(), source })?;
    for folder in &folders {
        match one(&dir.join(folder), folder, check) {
            Ok(app) => drop(read.insert(folder.as_str(), Arc::new(app))),
            Err(found) => drop(problems.insert(folder.clone(), found)),
        }
    }
    let app_of = |read: &BTreeMap<&str, Arc<App>>, folder: &str| {
        read.get(folder).or_else(|| before.get(folder)).map(Arc::clone)
    };
    // A refused app keeps what it had before, which may clash with another one: repeat until nothing clashes.
    while let Some((loser, clash)) = clash(&folders, before, |folder| app_of(&read, folder)) {
        let path = dir.join(&loser).join("app.yaml");
        problems.entry(loser.clone()).or_default().push(Complaint::of_file(clash).about(&path));
        // Apps as they were served before do not clash: the refused app is a new one.
        if read.remove(loser.as_str()).is_none() {
            break;
        }
    }
    let apps = folders.iter().filter_map(|folder| Some((folder.clone(), app_of(&read, folder)?))).collect();
    Ok(Loaded { apps, problems: problems.into_values().flatten().collect() })
}

/// The first folder whose app must be refused, and why: its id or a host of it belongs to another app. An app that is
/// served keeps its id and hosts; among other apps, the first by folder gets them.
fn clash(
    folders: &[String],
    before: &BTreeMap<String, Arc<App>>,
    app_of: impl Fn(&str) -> Option<Arc<App>>,
) -> Option<(String, String)> {
    let mut taken = HashMap::<String, &String>::new();
    let had = |folder: &String, claimed: &str| {
        before.get(folder).is_some_and(|app| exclusive(app).any(|known| known == claimed))
    };
    for folder in folders {
        let Some(app) = app_of(folder) else { continue };
        for claimed in exclusive(&app) {
            let Some(owner) = taken.get(&claimed).copied().filter(|owner| *owner != folder) else {
                taken.insert(claimed, folder);
                continue;
            };
            let (loser, owner) = if had(folder, &claimed) && !had(owner, &claimed) {
                (owner, folder)
            } else {
                (folder, owner)
            };
            let why = format!("{claimed} already belongs to the app in \"{owner}\": each app needs its own");
            return Some((loser.clone(), why));
        }
    }
    None
}

/// The id and hosts of an app, which no other app can have.
fn exclusive(app: &App) -> impl Iterator<Item = String> + '_ {
    [format!("id {}", app.id)].into_iter().chain(hosts(app).map(|host| format!("host {host}")))
}

/// The hosts at which an app answers.
pub(super) fn hosts(app: &App) -> impl Iterator<Item = String> + '_ {
    [format!("{}.localhost", app.name.to_lowercase())].into_iter().chain(app.hosts.iter().cloned())
}

/// The default host of the app to whose folder in `dir` a path belongs.
pub(super) fn host_of_folder(dir: &Path, path: &Path) -> Option<String> {
    let folder = path.strip_prefix(dir).ok()?.components().next()?.as_os_str().to_str()?;
    Some(format!("{}.localhost", folder.to_lowercase()))
}

pub(super) fn no_default(dir: &Path, name: &str, apps: &[&Arc<App>]) -> Problem {
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    let message = format!("the default app \"{name}\" does not exist: choose one of {}", names.join(", "));
    Complaint::of_file(message).about(dir)
}

/// The names of the folders that contain an `app.yaml`, sorted.
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

/// Reads and checks the app in the folder `path`, whose name is `folder`.
pub(super) fn one(path: &Path, folder: &str, check: &Check) -> Result<App, Vec<Problem>> {
    let app = read(path, folder)?;
    let problem = |error: runyard_runs::BoxError| {
        vec![Complaint::of_file(error.to_string()).about(&path.join(&app.workflow.file))]
    };
    check(&app).map_err(problem)?;
    Ok(app)
}

/// [`one`] without a check of its workflow.
pub(super) fn read(path: &Path, folder: &str) -> Result<App, Vec<Problem>> {
    let file = path.join("app.yaml");
    let text = read_text(&file, MAX_MANIFEST_BYTES).map_err(|complaint| vec![complaint.about(&file)])?;
    let manifest = manifest::read(&text, folder).map_err(|complaints| {
        complaints.into_iter().map(|complaint| complaint.about(&file)).collect::<Vec<_>>()
    })?;
    let file = path.join(&manifest.workflow_file);
    let text = read_text(&file, MAX_WORKFLOW_BYTES).map_err(|complaint| vec![complaint.about(&file)])?;
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

fn read_text(file: &Path, max_bytes: u64) -> Result<String, Complaint> {
    let unreadable = |error: io::Error| Complaint::of_file(unreadable(&error));
    // Reading anything but a regular file may block or never end.
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(Complaint::of_file("not a regular file: replace it by one"));
    }
    let mut text = String::new();
    // The file may grow while it is read: never read more than the limit.
    let read = fs::File::open(file).and_then(|file| file.take(max_bytes + 1).read_to_string(&mut text));
    if text.len() as u64 > max_bytes || fs::metadata(file).is_ok_and(|metadata| metadata.len() > max_bytes) {
        return Err(Complaint::of_file(format!(
            "the file is larger than the limit of {max_bytes} bytes: make it smaller"
        )));
    }
    read.map_err(unreadable)?;
    Ok(text)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "file not found: create it, or name another".to_owned(),
        io::ErrorKind::InvalidData => "the file is not UTF-8: save it as UTF-8".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    }
}
