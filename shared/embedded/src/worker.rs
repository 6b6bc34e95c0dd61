//! Which of the processes that share a data directory are alive: each holds a lock, which the kernel releases when it
//! dies.

use crate::private;
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// The lock of this process, `<data>/workers/<id>.lock`, held as long as it lives.
pub(crate) struct Worker {
    pub(crate) id: Uuid,
    _lock: File,
}

impl Worker {
    /// Creates and locks the file of worker `id`. The lock is released when the process ends or this is dropped; the
    /// file stays, so that another process can clean up after the worker.
    pub(crate) fn start(dir: &Path, id: Uuid) -> io::Result<Self> {
        let path = lock_path(dir, id);
        loop {
            let lock = private::file(&path)?;
            lock.lock()?;
            // A process that checked between these two steps took it for the file of a dead worker, and removed it.
            if lock.metadata()?.nlink() > 0 {
                return Ok(Self { id, _lock: lock });
            }
        }
    }
}

/// A dead worker. Its lock is held here, so that no other process cleans up after it at the same time.
pub(crate) struct DeadWorker {
    path: PathBuf,
    _lock: Option<File>,
}

impl DeadWorker {
    /// Returns worker `id` if it is dead.
    pub(crate) fn find(dir: &Path, id: Uuid) -> io::Result<Option<Self>> {
        let path = lock_path(dir, id);
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Self { path, _lock: None }));
            }
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path, _lock: Some(lock) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes its lock file. Call this once its runs are due.
    pub(crate) fn bury(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the workers that have a lock file, dead or alive.
pub(crate) fn known(dir: &Path) -> io::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        let id: Option<Uuid> =
            name.to_str().and_then(|name| name.strip_suffix(".lock")).and_then(|id| id.parse().ok());
        ids.extend(id);
    }
    Ok(ids)
}

fn lock_path(dir: &Path, id: Uuid) -> PathBuf {
    dir.join(format!("{id}.lock"))
}
