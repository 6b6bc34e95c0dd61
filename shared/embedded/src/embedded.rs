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
/// The database is closed, its log copied into it, when the last port is dropped.
#[derive(Clone)]
pub struct Embedded {
    home: Arc<Home>,
    runs: Arc<Runs>,
    files: Arc<Files>,
    queue: Arc<Queue>,
    keys: Arc<Keys>,
}

/// What may be chosen. The defaults suit a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads that read, 1 at least.
    pub readers: usize,
    /// Page cache of each of them in KiB. What is not in it is mostly in the operating system's.
    pub reader_cache_kib: u32,
    /// Page cache of the thread that writes, in KiB.
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
    /// A directory or lock cannot be made.
    #[error("cannot use the data directory {path}: {source}", path = path.display())]
    DataDir {
        /// What was to be made.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// A later release made the database.
    #[error("{path} has schema {found}, and this release knows {known}: use the release that made it, or another data directory", path = path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest schema that this release knows.
        known: i64,
    },
    /// The file system has no shared memory, as some network file systems.
    #[error("{} cannot have a write-ahead log: keep the data directory on a local file system", .0.display())]
    NoWal(PathBuf),
    /// SQLite failed.
    #[error("cannot open the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A thread was not started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The database failed right after it was opened.
    #[error("cannot use the database: {0}")]
    Store(#[from] StoreError),
}

/// What the ports share.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) database: Database,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) worker: Worker,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Embedded {
    /// Opens a data directory, made if need be. Only its owner may read it and what lies in it (0700 and 0600), also if it
    /// was there before. Runs and uploads of processes that died are seen to.
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
        let home = Arc::new(Home { dir: data_dir.to_owned(), database, waiters, counters, worker, clock });
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

    /// Keeps runs.
    pub fn runs(&self) -> Arc<Runs> {
        Arc::clone(&self.runs)
    }

    /// Keeps files.
    pub fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    /// Brings runs to this process's workers.
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Keeps access keys.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }

    /// Keeps what agents remember.
    pub fn memories(&self) -> Arc<Memories> {
        Arc::new(Memories::new(Arc::clone(&self.home)))
    }

    /// Tells how much is stored.
    pub fn usage(&self) -> Arc<Usage> {
        Arc::new(Usage::new(Arc::clone(&self.home)))
    }

    /// Makes the runs of processes that have died due, and removes what their uploads left; gives the number of runs.
    ///
    /// Costs next to nothing if there are none: call it each second, beside the sweeper.
    pub async fn suspect_dead_workers(&self) -> Result<usize, StoreError> {
        let home = Arc::clone(&self.home);
        tokio::task::spawn_blocking(move || home.suspect_lock_files())
            .await
            .map_err(|error| StoreError::Unknown(error.into()))?
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }
}

impl Home {
    /// Looks at each worker that has a lock file.
    fn suspect_lock_files(&self) -> Result<usize, StoreError> {
        let mut due = 0;
        for id in worker::known(&workers_dir(&self.dir)).map_err(failed)? {
            due += self.suspect(id)?;
        }
        Ok(due)
    }

    /// Looks at each worker that holds a run: a copied data directory has no lock files.
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
        let Some(dead) = worker::Dead::find(&workers_dir(&self.dir), id).map_err(failed)? else {
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
