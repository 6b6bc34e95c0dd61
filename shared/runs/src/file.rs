//! Files that runs read, and the port that keeps them.

use crate::{AppId, FileId, StoreError, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// What is known of a stored file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct File {
    /// The file.
    pub id: FileId,
    /// Its name, as its sender gave it; never a path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type, as its sender gave it.
    pub mime_type: String,
}

/// A file about to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// The file.
    pub id: FileId,
    /// The app whose runs may read it.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// Its media type.
    pub mime_type: String,
    /// From then on it may be deleted.
    pub expires_at: Timestamp,
}

/// Keeps files.
///
/// A file exists from the moment that [`Upload::finish`] gives it, and not before: what a broken upload
/// left is removed. Presigned uploads will come as a second way to an [`Upload`]'s end, `GET /v1/files` as a
/// listing by app.
#[async_trait]
pub trait FileStore: Send + Sync + 'static {
    /// Begins to store a file.
    async fn create(&self, file: NewFile) -> Result<Box<dyn Upload>, StoreError>;

    /// What is known of a file of this app.
    async fn get(&self, app: AppId, id: FileId) -> Result<Option<File>, StoreError>;

    /// The content of a file of this app, in pieces of at most 64 KiB.
    async fn open(
        &self,
        app: AppId,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError>;

    /// Removes a file; it is no error if there is none.
    async fn delete(&self, app: AppId, id: FileId) -> Result<(), StoreError>;

    /// Removes up to `limit` files that expired before `now` and what broken uploads left; gives their number.
    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;
}

/// A file being stored. Dropped before [`Upload::finish`], it leaves nothing.
#[async_trait]
pub trait Upload: Send {
    /// Adds a piece. Memory is bounded: it returns when the piece was taken over.
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError>;

    /// Makes the file exist, durably.
    async fn finish(self: Box<Self>) -> Result<File, StoreError>;
}
