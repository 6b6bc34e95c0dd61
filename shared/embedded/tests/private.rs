//! Only its owner can read a data directory.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use runyard_embedded::{Embedded, Options};
use runyard_runs::{AppId, FileId, FileStore, NewFile, SystemClock, SystemIds, Timestamp};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

/// A path and everything below it, with types and modes.
fn modes(path: &Path) -> Vec<(PathBuf, bool, u32)> {
    let found = fs::symlink_metadata(path).unwrap();
    let mut all = vec![(path.to_owned(), found.is_dir(), found.permissions().mode() & 0o777)];
    if found.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(modes(&entry.unwrap().path()));
        }
    }
    all
}

fn open_to_others(path: &Path) -> Vec<(PathBuf, bool, u32)> {
    let all = modes(path).into_iter();
    all.filter(|(_, is_dir, mode)| *mode != if *is_dir { 0o700 } else { 0o600 }).collect()
}

async fn store(embedded: &Embedded, id: u128) {
    let file = NewFile {
        id: FileId(Uuid::from_u128(id)),
        app: AppId(Uuid::from_u128(1)),
        name: "a".into(),
        mime_type: "text/plain".into(),
        expires_at: Timestamp(i64::MAX),
    };
    let mut upload = embedded.files().create(file).await.unwrap();
    upload.write("text".into()).await.unwrap();
    upload.finish().await.unwrap();
}

#[tokio::test]
async fn an_existing_directory_is_made_private() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let open = || Embedded::open(&data, Arc::new(SystemClock), &SystemIds, Options::default()).unwrap();
    let embedded = open();
    store(&embedded, 1).await;
    assert!(data.join("runyard.db-wal").is_file(), "the WAL exists");
    assert_eq!(open_to_others(&data), []);
    // Files as an earlier release left them, or a copy with another umask.
    for (path, is_dir, _) in modes(&data) {
        fs::set_permissions(path, fs::Permissions::from_mode(if is_dir { 0o755 } else { 0o644 })).unwrap();
    }
    fs::write(data.join("dev-key"), "a key").unwrap();
    let again = open();
    assert_eq!(open_to_others(&data), []);
    store(&again, 2).await;
    drop((embedded, again));
    assert_eq!(open_to_others(&data), []);
}
