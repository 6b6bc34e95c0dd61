//! One SQLite database: a writer thread with group commit, and reader threads.

mod fault;
mod reader;
mod schema;
mod writer;

pub(crate) use fault::Fault;

use crate::{
    Error, Options,
    runs::Waiters,
    usage::{Counters, Tally},
};
use reader::Readers;
use runyard_runs::StoreError;
use rusqlite::Connection;
use std::{path::Path, sync::Arc};
use tokio::sync::oneshot;
use writer::Writer;

/// The database of a data directory.
pub(crate) struct Database {
    readers: Readers,
    writer: Writer,
}

impl Database {
    /// Opens the database at `path`; creates or migrates it if needed.
    pub(crate) fn open(
        path: &Path,
        options: &Options,
        waiters: Arc<Waiters>,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let mut connection = schema::connect(path, options.writer_cache_kib)?;
        schema::prepare(&mut connection, path)?;
        counters.load(&connection, &Tally::default()).map_err(StoreError::from)?;
        let copies = schema::connect(path, 64)?;
        let readers = (0..options.readers.max(1))
            .map(|_| {
                let connection = schema::connect(path, options.reader_cache_kib)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(connection)
            })
            .collect::<Result<_, rusqlite::Error>>()?;
        Ok(Self {
            readers: Readers::start(readers).map_err(Error::Thread)?,
            writer: Writer::start(connection, copies, waiters, counters)?,
        })
    }

    /// Executes `work` in a transaction, and returns once that is on disk.
    ///
    /// `work` may be called again from the start if the transaction that it shared with other work failed.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_then(move |connection, _| work(connection), |_| ()).await
    }

    /// [`Database::write`] of bytes that count as stored by an app. `then` is called once they are on disk, also if the
    /// caller was canceled.
    pub(crate) async fn write_then<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection, &mut Tally) -> Result<T, Fault> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(work, move |outcome| {
            if let Ok(done) = &outcome {
                then(done);
            }
            let _ = reply.send(outcome);
        });
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// [`Database::write`], which blocks the thread.
    pub(crate) fn write_blocking<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let work = move |connection: &Connection, _: &mut Tally| work(connection);
        self.writer.send(work, move |outcome| {
            let _ = reply.send(outcome);
        });
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// Executes `work` on a reader thread; it sees all writes that were acknowledged before.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.readers.send(Box::new(move |connection| {
            // Skip the read if its caller is gone.
            if !reply.is_closed() {
                let _ = reply.send(work(connection));
            }
        }));
        answer.await.map_err(|_| closed())?.map_err(StoreError::from)
    }

    /// Makes the writer thread check for writes of other processes, as long as a task waits for them.
    pub(crate) fn watch(&self) {
        self.writer.wake();
    }
}

fn closed() -> StoreError {
    StoreError::Unknown("the database is closed".into())
}
