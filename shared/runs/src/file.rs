//! Files that runs read, and the port that keeps them.

use crate::{AppId, FileId, StoreError, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// The metadata of a stored file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct File {
    /// The file.
    pub id: FileId,
    /// Its name, as the uploader sent it; never a path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type, as the uploader sent it.
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
    /// When it expires: from then on it may be deleted.
    pub expires_at: Timestamp,
}

/// Keeps files.
///
/// A file exists once [`Upload::finish`] has returned it, and not before: the rest of an aborted upload is removed.
/// Planned: presigned uploads as a second way to complete an [`Upload`], and `GET /v1/files` as a listing by app.
#[async_trait]
pub trait FileStore: Send + Sync + 'static {
    /// Begins to store a file.
    async fn create(&self, file: NewFile) -> Result<Box<dyn Upload>, StoreError>;

    /// Returns the metadata of a file of this app.
    async fn get(&self, app: AppId, id: FileId) -> Result<Option<File>, StoreError>;

    /// Opens the content of a file of this app, in pieces of at most 64 KiB.
    async fn open(
        &self,
        app: AppId,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError>;

    /// Deletes a file; not an error if it does not exist.
    async fn delete(&self, app: AppId, id: FileId) -> Result<(), StoreError>;

    /// Deletes up to `limit` files that expired before `now`, and the rests of aborted uploads. Returns their number.
    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;
}

/// A file that is being uploaded. If it is dropped before [`Upload::finish`], nothing is stored.
#[async_trait]
pub trait Upload: Send {
    /// Appends a piece of the content. Memory is bounded: it returns once the piece has been accepted.
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError>;

    /// Completes the upload: the file exists and is durable.
    async fn finish(self: Box<Self>) -> Result<File, StoreError>;
}
