//! The files of a request: written as they arrive, and created only once the whole request is valid.

use crate::{Api, error::Error, multipart::Multipart, multipart::Part};
use runyard_runs::{
    App, File, FileId, FileStore, NewFile, RECORD_BYTES, RunService, StoreError, Timestamp, Upload,
    service::quota::Arriving,
};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

/// Characters of a file's name.
const MAX_NAME_LENGTH: usize = 255;

/// How long inline files outlive their run: they are uploaded before the run is created, by at most the duration of the
/// request.
pub(crate) const SLACK: Duration = Duration::from_hours(24);

/// The files of one request. If it is dropped before [`Uploads::finish`], no file is kept.
pub(crate) struct Uploads {
    open: Vec<Box<dyn Upload>>,
    received: Vec<Received>,
    /// Bytes that count toward the app's quota until the files exist.
    arriving: Arriving,
    /// Whether the content is hashed, to compare requests with the same idempotency key.
    hashed: bool,
}

/// A received file.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) name: String,
    pub(crate) mime_type: String,
    pub(crate) size: u64,
    /// Zeros if the content is not hashed.
    pub(crate) sha256: [u8; 32],
}

impl Uploads {
    pub(crate) fn new(service: &RunService, app: &App, hashed: bool) -> Self {
        Self { open: Vec::new(), received: Vec::new(), arriving: service.arriving(app), hashed }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns the received files, in order.
    pub(crate) fn received(&self) -> &[Received] {
        &self.received
    }

    /// Writes the content of a part to the file store in pieces, as long as it fits into the app's quota.
    pub(crate) async fn receive(
        &mut self,
        api: &Api,
        app: &App,
        part: Part,
        body: &mut Multipart,
        expires_at: Timestamp,
    ) -> Result<(), Error> {
        let name = part.file_name.unwrap_or_else(|| "file".to_owned());
        if name.chars().count() > MAX_NAME_LENGTH {
            let problem = format!("a file's name must have at most {MAX_NAME_LENGTH} characters");
            return Err(Error::bad(&part.name, problem));
        }
        let mime_type = part.mime_type.unwrap_or_else(|| "application/octet-stream".to_owned());
        let file = NewFile {
            id: FileId(api.ids.ordered()),
            app: app.id,
            name: name.clone(),
            mime_type: mime_type.clone(),
            expires_at,
        };
        self.count(api, app, body, RECORD_BYTES).await?;
        let mut upload = api.files.create(file).await?;
        let (mut size, mut hash) = (0, Sha256::new());
        while let Some(piece) = body.content().await? {
            size += piece.len() as u64;
            self.count(api, app, body, piece.len() as u64).await?;
            if self.hashed {
                hash.update(&piece);
            }
            upload.write(piece).await?;
        }
        self.open.push(upload);
        let sha256 = if self.hashed { hash.finalize().into() } else { [0; 32] };
        self.received.push(Received { name, mime_type, size, sha256 });
        Ok(())
    }

    async fn count(&mut self, api: &Api, app: &App, body: &mut Multipart, bytes: u64) -> Result<(), Error> {
        match api.service.receive(app, &mut self.arriving, bytes).await {
            Ok(()) => Ok(()),
            Err(error) => Err(body.refused(error.into()).await),
        }
    }

    /// Creates all files, or none.
    pub(crate) async fn finish(self, store: Arc<dyn FileStore>, app: Arc<App>) -> Result<Stored, StoreError> {
        let mut stored = Stored { store, app, files: Vec::with_capacity(self.open.len()) };
        for upload in self.open {
            match upload.finish().await {
                Ok(file) => stored.files.push(file),
                Err(error) => {
                    stored.remove().await;
                    return Err(error);
                }
            }
        }
        Ok(stored)
    }
}

/// Created files of a request that may still be refused.
pub(crate) struct Stored {
    store: Arc<dyn FileStore>,
    app: Arc<App>,
    files: Vec<File>,
}

impl Stored {
    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// Deletes the files: the request was refused.
    pub(crate) async fn remove(self) {
        for file in self.files {
            if let Err(error) = self.store.delete(self.app.id, file.id).await {
                tracing::warn!(file = %file.id, %error, "file of a refused request kept until it expires");
            }
        }
    }
}
