//! `multipart/form-data`, streamed from disk.

use crate::exit::usage;
use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use std::{fmt::Write, io, path::PathBuf};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

/// A form: text fields, then files.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    boundary: String,
    fields: Vec<(String, String)>,
    file_field: &'static str,
    files: Vec<PathBuf>,
}

impl Form {
    /// A form whose files are parts named `file_field`. `unique` becomes part of the boundary.
    pub(crate) fn new(unique: Uuid, file_field: &'static str, files: Vec<PathBuf>) -> Self {
        Self { boundary: format!("runyard-{}", unique.simple()), fields: Vec::new(), file_field, files }
    }

    /// Adds a field.
    pub(crate) fn field(&mut self, name: &str, value: impl Into<String>) {
        self.fields.push((name.to_owned(), value.into()));
    }

    /// The `Content-Type` header.
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The body, read from disk as it is sent. Opens all files first, so that a missing one is reported before anything is
    /// sent.
    pub(crate) async fn body(&self) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let mut pieces: Vec<BoxStream<'static, io::Result<Bytes>>> = Vec::new();
        let mut head = String::new();
        for (name, value) in &self.fields {
            let _ = write!(
                head,
                "--{}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n",
                self.boundary
            );
        }
        for path in &self.files {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
            if file.metadata().await.is_ok_and(|metadata| metadata.is_dir()) {
                return Err(usage(format!("{} is a directory, not a file", path.display())));
            }
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .with_context(|| format!("the name of {} is not UTF-8", path.display()))?;
            let quoted = name.replace('"', "%22").replace(['\r', '\n'], " ");
            let _ = write!(
                head,
                "--{}\r\ncontent-disposition: form-data; name=\"{}\"; filename=\"{quoted}\"\r\n\
                 content-type: {}\r\n\r\n",
                self.boundary,
                self.file_field,
                media_type(name),
            );
            pieces.push(text(std::mem::take(&mut head)));
            pieces.push(ReaderStream::with_capacity(file, 64 << 10).boxed());
            head.push_str("\r\n");
        }
        let _ = write!(head, "--{}--\r\n", self.boundary);
        pieces.push(text(head));
        Ok(futures::stream::iter(pieces).flatten().boxed())
    }
}

fn text(text: String) -> BoxStream<'static, io::Result<Bytes>> {
    futures::stream::once(async move { Ok(Bytes::from(text)) }).boxed()
}

/// The media type by file extension, for the types that workflows read most.
fn media_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("txt" | "log") => "text/plain",
        Some("md") => "text/markdown",
        Some("html" | "htm") => "text/html",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("yaml" | "yml") => "application/yaml",
        Some("xml") => "application/xml",
        Some("pdf") => "application/pdf",
        Some("zip") => "application/zip",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("mp3") => "audio/mpeg",
        Some("wav") => "audio/wav",
        Some("docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Some("pptx") => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        _ => "application/octet-stream",
    }
}
