use crate::{
    Files, Keys, Memories, Queue, Runs, Usage, database::Database, files, private, runs::Waiters,
    usage::Counters, worker, worker::Worker,
};
use runyard_runs::{Clock, Ids, StoreError};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

/// The ports on one data directory. Cheap to clone.
///
/// When the last port is dropped, the WAL is copied into the database, and the database is closed.
#[derive(Clone)]
pub struct Embedded {
    home: Arc<Shared>,
    runs: Arc<Runs>,
    files: Arc<Files>,
    queue: Arc<Queue>,
    keys: Arc<Keys>,
}

/// Sizes of the database's threads and caches. The defaults suit a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of reader threads, at least 1.
    pub readers: usize,
    /// Page cache of each reader thread, in KiB. Other pages are mostly in the operating system's cache.
    pub reader_cache_kib: u32,
    /// Page cache of the writer thread, in KiB.
    pub writer_cache_kib: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 3, reader_cache_kib: 1024, writer_cache_kib: 1024 }
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory, file or lock cannot be created or used.
    #[error("cannot use the data directory {path}: {source}", path = path.display())]
    DataDir {
        /// The directory that was needed.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The database has the schema of a later release.
    #[error("{path} has schema {found}, but this release supports at most {known}: use the release that created it, or another data directory", path = path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest schema that this release knows.
        known: i64,
    },
    /// The file system does not support shared memory, like some network file systems.
    #[error("{} does not support a write-ahead log: keep the data directory on a local file system", .0.display())]
    NoWal(PathBuf),
    /// SQLite failed.
    #[error("cannot open the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The database failed right after it was opened.
    #[error("cannot use the database: {0}")]
    Store(#[from] StoreError),
}

/// State that the ports share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) database: Database,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) worker: Worker,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Embedded {
    /// Opens a data directory; creates it if it does not exist. Makes it and its content readable by the owner only
    /// (0700 and 0600), also if it existed before. Makes the runs of dead processes due, and removes their uploads.
    pub fn open(
        data_dir: &Path,
        clock: Arc<dyn Clock>,
        ids: &dyn Ids,
        options: Options,
    ) -> Result<Self, Error> {
        for dir in [data_dir.to_owned(), workers_dir(data_dir), data_dir.join("files"), uploads_dir(data_dir)]
        {
            private::directory(&dir).map_err(|source| Error::DataDir { path: dir, source })?;
        }
        let in_dir = |source| Error::DataDir { path: data_dir.to_owned(), source };
        // SQLite gives its other files the mode of the database.
        let path = data_dir.join("runyard.db");
        private::file(&path).map_err(in_dir)?;
        for dir in [data_dir, &workers_dir(data_dir)] {
            private::files_in(dir).map_err(in_dir)?;
        }
        for dir in [data_dir.join("files"), uploads_dir(data_dir)] {
            private::directories_in(&dir).map_err(in_dir)?;
        }
        let waiters = Arc::new(Waiters::default());
        let counters = Arc::new(Counters::default());
        let database = Database::open(&path, &options, Arc::clone(&waiters), Arc::clone(&counters))?;
        let worker = Worker::start(&workers_dir(data_dir), ids.random()).map_err(in_dir)?;
        let home = Arc::new(Shared { dir: data_dir.to_owned(), database, waiters, counters, worker, clock });
        home.suspect_owners()?;
        home.suspect_lock_files()?;
        Ok(Self {
            runs: Arc::new(Runs::new(Arc::clone(&home))),
            files: Arc::new(Files::new(Arc::clone(&home))),
            queue: Arc::new(Queue::default()),
            keys: Arc::new(Keys::new(Arc::clone(&home))),
            home,
        })
    }

    /// The store of runs.
    pub fn runs(&self) -> Arc<Runs> {
        Arc::clone(&self.runs)
    }

    /// The store of files.
    pub fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    /// The queue of this process's workers.
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// The store of access keys.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }

    /// The store of agents' memory.
    pub fn memories(&self) -> Arc<Memories> {
        Arc::new(Memories::new(Arc::clone(&self.home)))
    }

    /// How much each app has stored.
    pub fn usage(&self) -> Arc<Usage> {
        Arc::new(Usage::new(Arc::clone(&self.home)))
    }

    /// Makes the runs of dead processes due, and removes their unfinished uploads. Returns the number of runs.
    ///
    /// Cheap if no process has died: call it every second, in addition to the sweeper.
    pub async fn suspect_dead_workers(&self) -> Result<usize, StoreError> {
        let home = Arc::clone(&self.home);
        tokio::task::spawn_blocking(move || home.suspect_lock_files())
            .await
            .map_err(|error| StoreError::Unknown(error.into()))?
    }

    pub(crate) fn home(&self) -> &Arc<Shared> {
        &self.home
    }
}

impl Shared {
    /// Checks every worker that has a lock file.
    fn suspect_lock_files(&self) -> Result<usize, StoreError> {
        let mut due = 0;
        for id in worker::known(&workers_dir(&self.dir)).map_err(failed)? {
            due += self.suspect(id)?;
        }
        Ok(due)
    }

    /// Checks every worker that holds a run: a copied data directory has no lock files.
    fn suspect_owners(&self) -> Result<(), StoreError> {
        for id in self.database.write_blocking(crate::runs::owning_workers)? {
            self.suspect(id)?;
        }
        Ok(())
    }

    fn suspect(&self, id: Uuid) -> Result<usize, StoreError> {
        if id == self.worker.id {
            return Ok(0);
        }
        let Some(dead) = worker::DeadWorker::find(&workers_dir(&self.dir), id).map_err(failed)? else {
            return Ok(0);
        };
        let now = self.clock.now();
        let due =
            self.database.write_blocking(move |connection| crate::runs::make_due(connection, id, now))?;
        files::remove_uploads(self, id)?;
        dead.bury();
        Ok(due)
    }
}

pub(crate) fn uploads_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("uploads")
}

fn workers_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("workers")
}

pub(crate) fn failed(error: io::Error) -> StoreError {
    StoreError::Failed(error.into())
}
