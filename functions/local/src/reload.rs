//! Reloading apps when their files change.
//!
//! Polls every 500 ms instead of using notifications: polling works on every file system and with every editor, and a
//! folder of apps is small.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// How often the folder is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Levels of nested folders that are read: apps are flat.
const MAX_DEPTH: usize = 3;

/// Modification time and size of each file; a file has changed if they differ.
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
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
        let now = stamps(folder.clone()).await;
        if now == before {
            continue;
        }
        changed().await;
        // A file saved during the reload differs from `now`, and is seen at the next poll.
        before = now;
    }
}

async fn stamps(folder: PathBuf) -> Stamps {
    tokio::task::spawn_blocking(move || {
        let mut stamps = Stamps::new();
        collect(&folder, MAX_DEPTH, &mut stamps);
        stamps
    })
    .await
    .unwrap_or_default()
}

fn collect(folder: &Path, depth: usize, stamps: &mut Stamps) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Names with a leading dot belong to editors and version control.
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
    fn changes_are_seen_except_those_of_hidden_files() {
        let folder = tempfile::tempdir().unwrap();
        for app in ["echo", "triage"] {
            fs::create_dir(folder.path().join(app)).unwrap();
            fs::write(folder.path().join(app).join("app.yaml"), "id: 1").unwrap();
        }
        let read = || {
            let mut stamps = Stamps::new();
            collect(folder.path(), MAX_DEPTH, &mut stamps);
            stamps
        };
        let before = read();
        fs::write(folder.path().join("triage/.workflow.yaml.swp"), "x").unwrap();
        assert_eq!(before, read());
        fs::write(folder.path().join("triage/workflow.yaml"), "nodes: {}").unwrap();
        let changed = read();
        assert_ne!(before, changed);
        fs::remove_dir_all(folder.path().join("echo")).unwrap();
        assert_ne!(changed, read());
    }
}
