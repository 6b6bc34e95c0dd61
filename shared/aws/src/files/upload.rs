//! Files being stored.

use super::{Files, content_type, object_key};
use crate::error::store_error;
use async_trait::async_trait;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use runyard_runs::{File, NewFile, StoreError, Upload};
use tokio::runtime::Handle;

/// What is held of an upload, and one part of it: S3 takes parts of 5 MiB at least, and 10,000 of them.
pub(super) const PART: usize = 8 << 20;

/// Sent with each object: nobody's page shows it as a page of the bucket's.
pub(super) const DISPOSITION: &str = "attachment";

/// A file being stored. Up to 8 MiB of it are held, and go as one object; of a larger one each 8 MiB go as a part.
pub(super) struct Receiving {
    files: Files,
    file: NewFile,
    /// What has come and was not sent, a part at most. Absent after that failed, or while it is sent.
    buffer: Option<BytesMut>,
    multipart: Option<Multipart>,
    size: u64,
}

impl Receiving {
    pub(super) fn new(files: Files, file: NewFile) -> Self {
        Self { files, file, buffer: Some(BytesMut::new()), multipart: None, size: 0 }
    }
}

#[async_trait]
impl Upload for Receiving {
    async fn write(&mut self, mut piece: Bytes) -> Result<(), StoreError> {
        // Whoever is dropped while it waits below leaves none, so that nothing can follow a gap.
        let mut buffer = self.buffer.take().ok_or_else(broken)?;
        self.size += piece.len() as u64;
        while !piece.is_empty() {
            // A part goes when something follows it: a file of one part is one object.
            if buffer.len() == PART {
                if self.multipart.is_none() {
                    self.multipart = Some(Multipart::begin(&self.files, &self.file).await?);
                }
                if let Some(multipart) = &mut self.multipart {
                    multipart.send(buffer.split().freeze()).await?;
                }
            }
            let taken = piece.split_to(piece.len().min(PART - buffer.len()));
            buffer.extend_from_slice(&taken);
        }
        self.buffer = Some(buffer);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<File, StoreError> {
        let buffer = self.buffer.take().ok_or_else(broken)?.freeze();
        // In a task of its own, so that it is not left half done if nobody waits for it any more.
        let finished = tokio::spawn(finish(*self, buffer));
        finished.await.map_err(|error| StoreError::Unknown(error.into()))?
    }
}

async fn finish(mut receiving: Receiving, buffer: Bytes) -> Result<File, StoreError> {
    let stored = match receiving.multipart.take() {
        None => put(&receiving.files, &receiving.file, buffer).await,
        Some(multipart) => multipart.complete(buffer).await,
    };
    let Receiving { files, file, size, .. } = &receiving;
    let inserted = match stored {
        Ok(()) => files.insert(file, *size).await,
        Err(error) => {
            remove(files, file).await;
            return Err(error);
        }
    };
    // Where the outcome is unknown, the file may exist.
    if let Err(StoreError::Failed(_)) = &inserted {
        remove(files, file).await;
    }
    inserted
}

/// Removes the content of a file that does not exist, also where it is only possible that it was stored.
async fn remove(files: &Files, file: &NewFile) {
    if let Err(error) = files.remove_object(&object_key(file)).await {
        tracing::warn!(file = %file.id, %error, "the content of a file that was not stored stays until it expires");
    }
}

async fn put(files: &Files, file: &NewFile, content: Bytes) -> Result<(), StoreError> {
    let s3 = &files.home.clients.s3;
    s3.put_object()
        .bucket(&files.home.config.bucket)
        .key(object_key(file))
        .content_type(content_type(&file.mime_type))
        .content_disposition(DISPOSITION)
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .body(ByteStream::from(content))
        .send()
        .await
        .map(drop)
        .map_err(store_error)
}

/// An upload in parts. Dropped before it is complete, it is aborted: S3 would keep its parts, and charge for them.
struct Multipart {
    files: Files,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
    runtime: Handle,
    done: bool,
}

impl Multipart {
    async fn begin(files: &Files, file: &NewFile) -> Result<Self, StoreError> {
        let (files, key) = (files.clone(), object_key(file));
        let content_type = content_type(&file.mime_type).to_owned();
        // In a task of its own: what was begun is known to somebody who aborts it, also if nobody waits any more.
        let begun = tokio::spawn(async move {
            let s3 = &files.home.clients.s3;
            let begun = s3
                .create_multipart_upload()
                .bucket(&files.home.config.bucket)
                .key(&key)
                .content_type(content_type)
                .content_disposition(DISPOSITION)
                .checksum_algorithm(ChecksumAlgorithm::Crc32)
                .send()
                .await
                .map_err(store_error)?;
            let id = begun
                .upload_id
                .ok_or_else(|| StoreError::Failed("S3 began an upload without an id".into()))?;
            Ok(Self { files, key, id, parts: Vec::new(), runtime: Handle::current(), done: false })
        });
        begun.await.map_err(|error| StoreError::Unknown(error.into()))?
    }

    async fn send(&mut self, content: Bytes) -> Result<(), StoreError> {
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let s3 = &self.files.home.clients.s3;
        let sent = s3
            .upload_part()
            .bucket(&self.files.home.config.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(content))
            .send()
            .await
            .map_err(store_error)?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build();
        self.parts.push(part);
        Ok(())
    }

    async fn complete(mut self, rest: Bytes) -> Result<(), StoreError> {
        self.send(rest).await?;
        let parts =
            CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts))).build();
        let s3 = &self.files.home.clients.s3;
        s3.complete_multipart_upload()
            .bucket(&self.files.home.config.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(parts)
            .send()
            .await
            .map_err(store_error)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (files, key, id) =
            (self.files.clone(), std::mem::take(&mut self.key), std::mem::take(&mut self.id));
        self.runtime.spawn(async move {
            let s3 = &files.home.clients.s3;
            let bucket = &files.home.config.bucket;
            let aborted = s3.abort_multipart_upload().bucket(bucket).key(&key).upload_id(id).send().await;
            if let Err(error) = aborted.map_err(store_error) {
                tracing::warn!(key, %error, "a broken upload stays until the bucket's lifecycle rule aborts it");
            }
        });
    }
}

fn broken() -> StoreError {
    StoreError::Failed("an earlier piece of this file was not written".into())
}
