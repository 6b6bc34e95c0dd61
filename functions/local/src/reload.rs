//! Reloading apps when their files change.
//!
//! By looking each half second, not by notifications: it works on every file system and through every way in which
//! editors save, and a folder of apps is small.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// How often is looked.
const EACH: Duration = Duration::from_millis(500);
/// Folders in folders, so deep: apps are flat.
const DEPTH: usize = 3;

/// What tells that a file is another one.
type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Calls `changed` after each change under `folder`, until `stop`.
pub(crate) async fn watch<F: Future<Output = ()>>(
    folder: PathBuf,
    stop: CancellationToken,
    changed: impl Fn() -> F,
) {
    let mut before = stamps(folder.clone()).await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EACH) => {}
        }
        let now = stamps(folder.clone()).await;
        if now == before {
            continue;
        }
        changed().await;
        // What was saved while it was reloaded differs from `now`, and is seen next time.
        before = now;
    }
}

async fn stamps(folder: PathBuf) -> Stamps {
    tokio::task::spawn_blocking(move || {
        let mut stamps = Stamps::new();
        collect(&folder, DEPTH, &mut stamps);
        stamps
    })
    .await
    .unwrap_or_default()
}

fn collect(folder: &Path, depth: usize, stamps: &mut Stamps) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // What begins with a dot is an editor's or a version control's.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            if depth > 1 {
                collect(&path, depth - 1, stamps);
            }
        } else {
            stamps.insert(path, (metadata.modified().ok(), metadata.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_an_editor_s_own_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for app in ["echo", "triage"] {
            fs::create_dir(folder.path().join(app)).unwrap();
            fs::write(folder.path().join(app).join("app.yaml"), "id: 1").unwrap();
        }
        let look = || {
            let mut stamps = Stamps::new();
            collect(folder.path(), DEPTH, &mut stamps);
            stamps
        };
        let before = look();
        fs::write(folder.path().join("triage/.workflow.yaml.swp"), "x").unwrap();
        assert_eq!(before, look());
        fs::write(folder.path().join("triage/workflow.yaml"), "nodes: {}").unwrap();
        let changed = look();
        assert_ne!(before, changed);
        fs::remove_dir_all(folder.path().join("echo")).unwrap();
        assert_ne!(changed, look());
    }
}
