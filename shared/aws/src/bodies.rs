//! Content that is too large for the table, in the bucket: each an immutable object.
//!
//! `runs/<days>d/<app>/<run>/<what>-<hash of the content>`. All objects of a run have the same prefix. A lifecycle rule
//! on `runs/<days>d/`, one for each of [`KEPT_DAYS`], deletes them: S3 has no time to live per object.

use crate::error::store_error;
use aws_sdk_s3::{Client, error::SdkError, primitives::ByteStream};
use runyard_runs::{AppId, RunId, StoreError};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// For how many days objects can be kept after they were written: there is a lifecycle rule for each.
pub const KEPT_DAYS: [u16; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];

/// Maximum retention, in seconds: the longest lifecycle rule would delete objects of a run that is kept for longer.
pub(crate) const LONGEST_KEPT: i64 = KEPT_DAYS[KEPT_DAYS.len() - 1] as i64 * 86_400;

/// Maximum size of content in the table, in bytes; larger content is stored in the bucket.
pub(crate) const INLINE: usize = 32 << 10;

pub(crate) struct Bodies {
    client: Client,
    bucket: String,
}

impl Bodies {
    pub(crate) fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }

    /// Opens a connection, with a request for an object that does not exist.
    pub(crate) async fn warm(&self) {
        let request = self.client.head_object().bucket(&self.bucket).key("runs/none");
        // Any service error is expected: without permission to list, S3 answers 403 for a missing key, not 404.
        if let Err(error) = request.send().await
            && error.as_service_error().is_none()
        {
            tracing::debug!(error = %store_error(error), "the bucket did not answer at startup");
        }
    }

    /// Stores JSON under this key.
    pub(crate) async fn put(&self, key: &str, json: &str) -> Result<(), StoreError> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).content_type("application/json");
        put.body(ByteStream::from(json.as_bytes().to_vec())).send().await.map_err(store_error)?;
        Ok(())
    }

    /// Returns the JSON stored under this key.
    pub(crate) async fn get(&self, key: &str) -> Result<String, StoreError> {
        let got = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let got = got.map_err(|error| match &error {
            SdkError::ServiceError(service) if service.err().is_no_such_key() => {
                StoreError::Failed(format!("the object {key} is missing in the bucket").into())
            }
            _ => store_error(error),
        })?;
        let content = got.body.collect().await.map_err(|error| StoreError::Unknown(error.into()))?;
        String::from_utf8(content.to_vec()).map_err(|error| StoreError::Failed(error.into()))
    }
}

/// The prefix of all objects of a run that is kept for `kept_seconds`.
fn prefix(app: AppId, run: RunId, kept_seconds: i64) -> String {
    let days = KEPT_DAYS.into_iter().find(|days| i64::from(*days) * 86_400 >= kept_seconds);
    format!("runs/{}d/{app}/{run}/", days.unwrap_or(KEPT_DAYS[KEPT_DAYS.len() - 1]))
}

/// The key of this content. It includes a hash, so that two writers that race for a slot do not overwrite each other.
pub(crate) fn key(app: AppId, run: RunId, kept_seconds: i64, what: &str, json: &str) -> String {
    let mut key = prefix(app, run, kept_seconds) + what + "-";
    for byte in &Sha256::digest(json)[..16] {
        let _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn objects_in_the_bucket_outlive_their_run() {
        let (app, run) = (AppId(Uuid::nil()), RunId(Uuid::nil()));
        for (seconds, days) in [(1, 1), (86_400, 1), (86_401, 2), (31 * 86_400, 32), (i64::MAX, 2048)] {
            assert!(prefix(app, run, seconds).starts_with(&format!("runs/{days}d/")));
        }
    }
}
