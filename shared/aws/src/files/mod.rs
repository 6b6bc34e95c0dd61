//! Files.
//!
//! A file's content is an object in the bucket. Its attributes are an item in the table; a file exists if its item does:
//!
//! ```text
//! files/<day of expiry, UTC>/<app>/<file>      the object
//! FILE#<file>, FILE                            the item
//! ```
//!
//! The object is written first and deleted last, so that an item always has one. The prefix is the day of expiry:
//! objects under a day that is over have expired and are deleted a page of keys at a time, including those without an
//! item that a crash left behind.

mod content;
mod presign;
mod upload;

pub use presign::{PresignedPost, PresignedPut};

use crate::{
    aws::Shared,
    error::{code, store_error},
    item::{Item, Reader, number, text},
};
use async_trait::async_trait;
use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use futures::stream::BoxStream;
use runyard_runs::{AppId, File, FileId, FileStore, NewFile, StoreError, Timestamp, Upload};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use upload::Receiving;

/// The prefix of all objects of files.
const PREFIX: &str = "files/";

/// Maximum number of keys that S3 lists or deletes in one request.
const PAGE_KEYS: usize = 1000;

/// How long to wait before listing again if nothing had expired: each listing is charged.
const LIST_INTERVAL: Duration = Duration::from_hours(1);

/// [`FileStore`] on S3, with the attributes of files in DynamoDB.
#[derive(Clone)]
pub struct Files {
    home: Arc<Shared>,
    /// When to next list expired objects, in milliseconds since 1970.
    list_at: Arc<AtomicI64>,
}

impl Files {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home, list_at: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    /// Returns a file of this app and the key of its object, unless it has expired or been deleted.
    async fn find(&self, app: AppId, id: FileId) -> Result<Option<(File, String)>, StoreError> {
        let found = self
            .home
            .clients
            .dynamodb
            .get_item()
            .table_name(&self.home.config.table)
            .key("PK", text(partition(id)))
            .key("SK", text("FILE"))
            // A run is created right after its file, possibly by another process.
            .consistent_read(true)
            .send()
            .await
            .map_err(store_error)?;
        let Some(item) = found.item else { return Ok(None) };
        let read = Reader(&item);
        if read.parse::<AppId>("app_id")? != app
            || item.contains_key("deleted")
            || read.time("expires_at")? <= self.home.clock.now()
        {
            return Ok(None);
        }
        let file = File {
            id,
            name: read.text("name")?.to_owned(),
            size: read.number("size")?,
            mime_type: read.text("mime_type")?.to_owned(),
        };
        Ok(Some((file, read.text("object")?.to_owned())))
    }

    /// Creates the item of a file whose content is stored.
    async fn insert(&self, file: &NewFile, size: u64) -> Result<File, StoreError> {
        let object = object_key(file);
        // Reads ignore the item from `expires_at` on; DynamoDB deletes it some time later.
        let ttl = file.expires_at.0.div_euclid(1000) + 1;
        let item = Item::from([
            ("PK".to_owned(), text(partition(file.id))),
            ("SK".to_owned(), text("FILE")),
            ("app_id".to_owned(), text(file.app.to_string())),
            ("name".to_owned(), text(&file.name)),
            ("mime_type".to_owned(), text(&file.mime_type)),
            ("size".to_owned(), number(size)),
            ("object".to_owned(), text(object)),
            ("expires_at".to_owned(), number(file.expires_at.0)),
            ("ttl".to_owned(), number(ttl)),
        ]);
        let put = self
            .home
            .clients
            .dynamodb
            .put_item()
            .table_name(&self.home.config.table)
            .set_item(Some(item.clone()))
            .condition_expression("attribute_not_exists(PK)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        if let Err(error) = put {
            // The SDK retries a request whose response was lost: then the same item exists already.
            match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed))
                    if failed.item() == Some(&item) => {}
                _ => return Err(store_error(error)),
            }
        }
        self.home.counts.count_record(file.app, file.expires_at, size).await;
        let NewFile { id, name, mime_type, .. } = file.clone();
        Ok(File { id, name, size, mime_type })
    }

    async fn remove_object(&self, key: &str) -> Result<(), StoreError> {
        let s3 = &self.home.clients.s3;
        s3.delete_object()
            .bucket(&self.home.config.bucket)
            .key(key)
            .send()
            .await
            .map(drop)
            .map_err(store_error)
    }

    /// The first keys of files, earliest day of expiry first.
    async fn first_keys(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let page = self
            .home
            .clients
            .s3
            .list_objects_v2()
            .bucket(&self.home.config.bucket)
            .prefix(PREFIX)
            .max_keys(i32::try_from(limit.min(PAGE_KEYS)).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(store_error)?;
        Ok(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
    }

    async fn remove_objects(&self, keys: &[String]) -> Result<(), StoreError> {
        let mut delete = Delete::builder().quiet(true);
        for key in keys {
            let object = ObjectIdentifier::builder().key(key).build();
            delete = delete.objects(object.map_err(|error| StoreError::Failed(error.into()))?);
        }
        let delete = delete.build().map_err(|error| StoreError::Failed(error.into()))?;
        let s3 = &self.home.clients.s3;
        let deleted = s3
            .delete_objects()
            .bucket(&self.home.config.bucket)
            .delete(delete)
            .send()
            .await
            .map_err(store_error)?;
        match deleted.errors().first() {
            None => Ok(()),
            Some(error) => {
                let (key, why) = (error.key().unwrap_or("?"), error.message().unwrap_or("no reason given"));
                Err(StoreError::Failed(format!("S3 did not delete {key}: {why}").into()))
            }
        }
    }
}

#[async_trait]
impl FileStore for Files {
    async fn create(&self, file: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(Receiving::new(self.clone(), file)))
    }

    async fn get(&self, app: AppId, id: FileId) -> Result<Option<File>, StoreError> {
        Ok(self.find(app, id).await?.map(|(file, _)| file))
    }

    async fn open(
        &self,
        app: AppId,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        let Some((_, key)) = self.find(app, id).await? else { return Ok(None) };
        let s3 = &self.home.clients.s3;
        match s3.get_object().bucket(&self.home.config.bucket).key(key).send().await {
            Ok(object) => Ok(Some(content::pieces(object.body))),
            // It was deleted since. (Without permission to list, S3 answers 403 for a missing key.)
            Err(_) if self.find(app, id).await?.is_none() => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    async fn delete(&self, app: AppId, id: FileId) -> Result<(), StoreError> {
        // The item keeps the key of the object, so that an interrupted deletion can be repeated.
        let marked = self
            .home
            .clients
            .dynamodb
            .update_item()
            .table_name(&self.home.config.table)
            .key("PK", text(partition(id)))
            .key("SK", text("FILE"))
            .update_expression("SET deleted = :at REMOVE #name, mime_type, size")
            .condition_expression("app_id = :app")
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":at", number(self.home.clock.now().0))
            .expression_attribute_values(":app", text(app.to_string()))
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        let item = match marked {
            Ok(marked) => marked.attributes.unwrap_or_default(),
            Err(error) if code(&error) == Some("ConditionalCheckFailedException") => return Ok(()),
            Err(error) => return Err(store_error(error)),
        };
        let read = Reader(&item);
        // A repeated deletion was already counted.
        if !item.contains_key("deleted") {
            self.home.counts.uncount_record(app, read.time("expires_at")?, read.number("size")?).await;
        }
        self.remove_object(read.text("object")?).await
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        if now.0 < self.list_at.load(Ordering::Relaxed) || limit == 0 {
            return Ok(0);
        }
        let mut expired = self.first_keys(limit).await?;
        // Keys sort by day.
        let today = format!("{PREFIX}{}/", day(now));
        expired.retain(|key| *key < today);
        if expired.is_empty() {
            self.list_at.store((now + LIST_INTERVAL).0, Ordering::Relaxed);
            return Ok(0);
        }
        self.remove_objects(&expired).await?;
        Ok(expired.len())
    }
}

fn partition(id: FileId) -> String {
    format!("FILE#{id}")
}

/// The key of a file's content. Consists of the day and ids: a file's name is never part of a path.
fn object_key(file: &NewFile) -> String {
    format!("{PREFIX}{}/{}/{}", day(file.expires_at), file.app, file.id)
}

/// The day in UTC, `2026-06-10`. Days sort chronologically, since times are clamped to years of four digits.
fn day(time: Timestamp) -> String {
    let last = jiff::civil::Date::MAX;
    let date = jiff::Timestamp::from_millisecond(time.0.max(0))
        .map_or(last, |time| time.to_zoned(jiff::tz::TimeZone::UTC).date());
    date.to_string()
}

/// Returns the media type if it is valid in a header, else `application/octet-stream`.
fn content_type(mime_type: &str) -> &str {
    let is_valid_byte = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let is_valid = mime_type.len() <= 255 && mime_type.contains('/') && mime_type.bytes().all(is_valid_byte);
    if is_valid { mime_type } else { "application/octet-stream" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_the_day_of_expiry() {
        let key = |expires_at| {
            let id = uuid::Uuid::from_u128(7);
            object_key(&NewFile {
                id: FileId(id),
                app: AppId(id),
                name: "../../etc/passwd".to_owned(),
                mime_type: String::new(),
                expires_at: Timestamp(expires_at),
            })
        };
        let id = "00000000-0000-0000-0000-000000000007";
        assert_eq!(key(1_781_082_921_000), format!("files/2026-06-10/{id}/{id}"));
        assert_eq!(key(1_781_135_999_999), format!("files/2026-06-10/{id}/{id}"));
        assert_eq!(key(1_781_136_000_000), format!("files/2026-06-11/{id}/{id}"));
        assert_eq!(key(-1), format!("files/1970-01-01/{id}/{id}"));
        assert_eq!(key(i64::MAX), format!("files/9999-12-31/{id}/{id}"));
    }

    #[test]
    fn only_media_types_become_headers() {
        assert_eq!(content_type("text/plain; charset=utf-8"), "text/plain; charset=utf-8");
        for other in
            ["", "text", "text/pl\u{e4}in", "a/b\r\nx: y", "nul/\0", &format!("a/{}", "b".repeat(254))]
        {
            assert_eq!(content_type(other), "application/octet-stream");
        }
    }
}
