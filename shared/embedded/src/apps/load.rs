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
    let mut problems = BTreeMap::<String, Vec<Problem>>::new();
    let mut read = BTreeMap::new();
    let folders = folders(dir).map_err(|source| AppsError::Folder { path: dir.to_owned(), source })?;
    for folder in &folders {
        match one(&dir.join(folder), folder, check) {
            Ok(app) => drop(read.insert(folder.as_str(), Arc::new(app))),
            Err(wrong) => drop(problems.insert(folder.clone(), wrong)),
        }
    }
    let app_of = |read: &BTreeMap<&str, Arc<App>>, folder: &str| {
        read.get(folder).or_else(|| before.get(folder)).map(Arc::clone)
    };
    // To refuse one leaves it with what it had before, which another may want: looked at until nobody has to give way.
    while let Some((loser, clash)) = clash(&folders, before, |folder| app_of(&read, folder)) {
        let path = dir.join(&loser).join("app.yaml");
        problems.entry(loser.clone()).or_default().push(Complaint::of_file(clash).about(&path));
        // Those that were served before do not clash: whoever gives way has something new.
        if read.remove(loser.as_str()).is_none() {
            break;
        }
    }
    let apps = folders.iter().filter_map(|folder| Some((folder.clone(), app_of(&read, folder)?))).collect();
    Ok(Loaded { apps, problems: problems.into_values().flatten().collect() })
}

/// The first folder that has to give way, and why: its app has something that only one can have, and that another has
/// already. An app that is served keeps what it has; of others the first by folder has it.
fn clash(
    folders: &[String],
    before: &BTreeMap<String, Arc<App>>,
    app_of: impl Fn(&str) -> Option<Arc<App>>,
) -> Option<(String, String)> {
    let mut taken = HashMap::<String, &String>::new();
    let had_it = |folder: &String, thing: &str| {
        before.get(folder).is_some_and(|app| things(app).any(|known| known == thing))
    };
    for folder in folders {
        let Some(app) = app_of(folder) else { continue };
        for thing in things(&app) {
            let Some(owner) = taken.get(&thing).copied().filter(|owner| *owner != folder) else {
                taken.insert(thing, folder);
                continue;
            };
            let (loser, owner) = if had_it(folder, &thing) && !had_it(owner, &thing) {
                (owner, folder)
            } else {
                (folder, owner)
            };
            let why = format!("{thing} is that of the app in \"{owner}\" already: each app has its own");
            return Some((loser.clone(), why));
        }
    }
    None
}

/// What only one app can have.
fn things(app: &App) -> impl Iterator<Item = String> + '_ {
    [format!("id {}", app.id)].into_iter().chain(hosts(app).map(|host| format!("host {host}")))
}

/// The hosts that an app answers on.
pub(super) fn hosts(app: &App) -> impl Iterator<Item = String> + '_ {
    [format!("{}.localhost", app.name.to_lowercase())].into_iter().chain(app.hosts.iter().cloned())
}

/// The host of the app in the folder that a path of `dir` leads into, unless its `app.yaml` names it.
pub(super) fn host_of_folder(dir: &Path, path: &Path) -> Option<String> {
    let folder = path.strip_prefix(dir).ok()?.components().next()?.as_os_str().to_str()?;
    Some(format!("{}.localhost", folder.to_lowercase()))
}

pub(super) fn no_default(dir: &Path, name: &str, apps: &[&Arc<App>]) -> Problem {
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    let message =
        format!("the default app \"{name}\" is not among the apps: choose one of {}", names.join(", "));
    Complaint::of_file(message).about(dir)
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

/// The same, without a look at its workflow.
pub(super) fn read(path: &Path, folder: &str) -> Result<App, Vec<Problem>> {
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
