//! Uploads of files to S3.

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

/// Size of a part, and of the buffer of an upload. S3 takes parts of at least 5 MiB, and at most 10,000 of them.
pub(super) const PART: usize = 8 << 20;

/// The `Content-Disposition` of each object: browsers download it, and never render it as a page of the bucket.
pub(super) const DISPOSITION: &str = "attachment";

/// A file being stored. A file of up to 8 MiB is buffered and sent as one object; a larger one in parts of 8 MiB.
pub(super) struct Receiving {
    files: Files,
    file: NewFile,
    /// Received bytes that are not sent yet, at most one part. Absent during a write, and after one that failed.
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
        // If this future is dropped at an await below, the buffer stays absent, so that no later write leaves a gap.
        let mut buffer = self.buffer.take().ok_or_else(broken)?;
        self.size += piece.len() as u64;
        while !piece.is_empty() {
            // A full part is sent only when more bytes follow: a file of one part is sent as one object.
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
        // In a separate task, so that it completes even if its caller is gone.
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

/// Removes the content of a file that was not created, even if it is uncertain whether the content was stored.
async fn remove(files: &Files, file: &NewFile) {
    if let Err(error) = files.remove_object(&object_key(file)).await {
        tracing::warn!(file = %file.id, %error, "content of a failed upload not deleted: it stays until it expires");
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

/// An upload in parts. Dropping it before completion aborts it: S3 would keep its parts, and charge for them.
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
        // In a separate task: if the caller is gone, the result is dropped there, which aborts the upload.
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
                .ok_or_else(|| StoreError::Failed("S3 returned no id for a multipart upload".into()))?;
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
                tracing::warn!(key, %error, "multipart upload not aborted: a lifecycle rule will abort it");
            }
        });
    }
}

fn broken() -> StoreError {
    StoreError::Failed("an earlier piece of this file was not written".into())
}
