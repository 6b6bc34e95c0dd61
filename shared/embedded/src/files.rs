//! Files.
//!
//! The content of an upload is in `<data>/uploads/<worker>/<app>.<file>`. Finishing it links the content to its path in
//! `<data>/files`, inserts the row, which makes the file exist, and removes the first name, in this order. A crash in
//! between leaves the first name, from which the rest is found and cleaned up.

use crate::{
    database::Fault,
    embedded::{Shared, failed, uploads_dir},
    private,
    usage::Tally,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use runyard_runs::{AppId, File, FileId, FileStore, NewFile, StoreError, Timestamp, Upload};
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

/// Bytes that are buffered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// The largest piece that a read returns.
const MAX_PIECE_BYTES: usize = 64 << 10;

/// [`FileStore`] on the file system; name, type, size and expiry of a file are in SQLite.
pub struct Files {
    home: Arc<Shared>,
}

impl Files {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home }
    }
}

#[async_trait]
impl FileStore for Files {
    async fn create(&self, file: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        let home = Arc::clone(&self.home);
        blocking(move || {
            let dir = uploads_dir(&home.dir).join(home.worker.id.to_string());
            private::directory(&dir)?;
            let path = dir.join(format!("{}.{}", file.app, file.id));
            let content = private::new_file(&path)?;
            let part = Part { path, content, buffer: Vec::new(), size: 0 };
            Ok(Box::new(Receiving { home, file, part: Some(part) }) as Box<dyn Upload>)
        })
        .await
    }

    async fn get(&self, app: AppId, id: FileId) -> Result<Option<File>, StoreError> {
        self.home.database.read(move |connection| find(connection, app, id)).await
    }

    async fn open(
        &self,
        app: AppId,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        let Some(file) = self.get(app, id).await? else { return Ok(None) };
        let path = content_path(&self.home.dir, app, id);
        let content = match blocking(move || fs::File::open(path).map(Arc::new)).await {
            Ok(content) => content,
            // It was deleted after the lookup.
            Err(_) if self.get(app, id).await?.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(pieces(content, file.size).boxed()))
    }

    async fn delete(&self, app: AppId, id: FileId) -> Result<(), StoreError> {
        let mark = move |connection: &Connection, tally: &mut Tally| {
            let sql = "SELECT size, expires_at, deleted FROM files WHERE app = ?1 AND id = ?2";
            let found = connection.prepare_cached(sql)?.query_row(params![app.0, id.0], |row| {
                Ok((row.get::<_, i64>(0)?, Timestamp(row.get(1)?), row.get::<_, bool>(2)?))
            });
            let Some((size, expires_at, is_deleted)) = found.optional()? else { return Ok(false) };
            if !is_deleted {
                tally.remove_record(app, expires_at, size.unsigned_abs());
                let sql = "UPDATE files SET deleted = 1, expires_at = 0 WHERE app = ?1 AND id = ?2";
                connection.prepare_cached(sql)?.execute(params![app.0, id.0])?;
            }
            Ok(true)
        };
        if self.home.database.write_then(mark, |_| ()).await? {
            self.remove(app, id).await?;
        }
        Ok(())
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let expired = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT app, id FROM files WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let files: Vec<_> = statement
                .query_map(params![now.0, limit], |row| Ok((AppId(row.get(0)?), FileId(row.get(1)?))))?
                .collect::<Result<_, _>>()?;
            Ok(files)
        };
        let expired = self.home.database.read(expired).await?;
        for (app, id) in &expired {
            self.delete(*app, *id).await?;
        }
        Ok(expired.len())
    }
}

impl Files {
    /// Removes the content of a file that is marked as deleted, then its row. After a crash in between, the next
    /// [`FileStore::delete_expired`] removes the row.
    async fn remove(&self, app: AppId, id: FileId) -> Result<(), StoreError> {
        let path = content_path(&self.home.dir, app, id);
        blocking(move || remove_if_exists(&path)).await?;
        let unmark = move |connection: &Connection| {
            let sql = "DELETE FROM files WHERE app = ?1 AND id = ?2 AND deleted = 1";
            connection.prepare_cached(sql)?.execute(params![app.0, id.0])?;
            Ok(())
        };
        self.home.database.write(unmark).await
    }
}

/// An upload in progress.
struct Receiving {
    home: Arc<Shared>,
    file: NewFile,
    /// `None` while a thread writes, and after a write has failed.
    part: Option<Part>,
}

/// The content received so far. Its file is removed on drop.
struct Part {
    path: PathBuf,
    content: fs::File,
    buffer: Vec<u8>,
    size: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[async_trait]
impl Upload for Receiving {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let mut part = self.part.take().ok_or_else(broken)?;
        part.size += piece.len() as u64;
        if part.buffer.len() + piece.len() <= BUFFER_BYTES {
            part.buffer.extend_from_slice(&piece);
            self.part = Some(part);
            return Ok(());
        }
        let write = move || {
            part.flush()?;
            part.content.write_all(&piece)?;
            Ok(part)
        };
        self.part = Some(blocking(write).await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<File, StoreError> {
        let part = self.part.take().ok_or_else(broken)?;
        let (home, file) = (Arc::clone(&self.home), self.file.clone());
        // In a separate task, so that it is completed even if the caller is canceled.
        let finished = tokio::spawn(finish(home, file, part));
        finished.await.map_err(|error| StoreError::Unknown(error.into()))?
    }
}

impl Part {
    fn flush(&mut self) -> io::Result<()> {
        self.content.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

async fn finish(home: Arc<Shared>, file: NewFile, mut part: Part) -> Result<File, StoreError> {
    let size = part.size;
    let to = content_path(&home.dir, file.app, file.id);
    let part = blocking(move || {
        part.flush()?;
        part.content.sync_all()?;
        link_durably(&part.path, &to)?;
        Ok(part)
    })
    .await?;
    let NewFile { id, app, name, mime_type, expires_at } = file;
    let row = File { id, name, size, mime_type };
    let stored = row.clone();
    let insert = move |connection: &Connection, tally: &mut Tally| {
        insert(connection, app, &stored, expires_at)?;
        tally.add_record(app, expires_at, stored.size);
        Ok(())
    };
    let written = home.database.write_then(insert, |()| ()).await;
    if let Err(StoreError::Failed(_)) = &written {
        let to = content_path(&home.dir, app, id);
        let _ = blocking(move || remove_if_exists(&to)).await;
    }
    drop(part);
    written.map(|()| row)
}

/// Removes the unfinished uploads of a dead process. Blocks.
pub(crate) fn remove_uploads(home: &Shared, worker: Uuid) -> Result<(), StoreError> {
    let dir = uploads_dir(&home.dir).join(worker.to_string());
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let ids = name
            .to_str()
            .and_then(|name| name.split_once('.'))
            .and_then(|(app, id)| Some((AppId(app.parse().ok()?), FileId(id.parse().ok()?))));
        if let Some((app, id)) = ids {
            let exists =
                home.database.write_blocking(move |connection| Ok(find(connection, app, id)?.is_some()))?;
            if !exists {
                remove_if_exists(&content_path(&home.dir, app, id)).map_err(failed)?;
            }
        }
        remove_if_exists(&entry.path()).map_err(failed)?;
    }
    fs::remove_dir(&dir).map_err(failed)
}

fn pieces(
    content: Arc<fs::File>,
    size: u64,
) -> impl futures::Stream<Item = Result<Bytes, StoreError>> + Send {
    stream::try_unfold((content, 0_u64), move |(content, at)| async move {
        if at >= size {
            return Ok(None);
        }
        let length = MAX_PIECE_BYTES.min(usize::try_from(size - at).unwrap_or(MAX_PIECE_BYTES));
        let read = move || {
            let mut piece = vec![0; length];
            content.read_exact_at(&mut piece, at)?;
            Ok((Bytes::from(piece), content))
        };
        let (piece, content) = blocking(read).await?;
        let next = at + piece.len() as u64;
        Ok(Some((piece, (content, next))))
    })
}

fn insert(connection: &Connection, app: AppId, file: &File, expires_at: Timestamp) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO files (app, id, expires_at, size, mime_type, name) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            app.0,
            file.id.0,
            expires_at.0,
            i64::try_from(file.size).unwrap_or(i64::MAX),
            file.mime_type,
            file.name
        ])?;
    Ok(())
}

fn find(connection: &Connection, app: AppId, id: FileId) -> Result<Option<File>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT name, size, mime_type FROM files WHERE app = ?1 AND id = ?2 AND deleted = 0",
    )?;
    let file = statement.query_row(params![app.0, id.0], |row| {
        let size: i64 = row.get(1)?;
        Ok(File { id, name: row.get(0)?, size: size.unsigned_abs(), mime_type: row.get(2)? })
    });
    Ok(file.optional()?)
}

/// The path of a file's content. Built from ids only: the name that a caller gave is never part of a path.
fn content_path(data_dir: &Path, app: AppId, id: FileId) -> PathBuf {
    data_dir.join("files").join(app.to_string()).join(id.to_string())
}

fn link_durably(from: &Path, to: &Path) -> io::Result<()> {
    let Some(dir) = to.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    if !dir.exists() {
        private::directory(dir)?;
        if let Some(parent) = dir.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
    }
    fs::hard_link(from, to)?;
    fs::File::open(dir)?.sync_all()
}

fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn broken() -> StoreError {
    StoreError::Failed("an earlier piece of this file was not written".into())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(failed),
        Err(error) => Err(StoreError::Unknown(error.into())),
    }
}
