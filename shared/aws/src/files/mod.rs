//! Files.
//!
//! A file's content is an object of the bucket; what is known of it, and that it exists at all, is an item of the table:
//!
//! ```text
//! files/<day of expiry, UTC>/<app>/<file>      the object
//! FILE#<file>, FILE                            the item
//! ```
//!
//! The object comes first and goes last, so that an item always has one. Retention is a prefix: what is under a day that is
//! over has expired, and goes a page of keys at a time, whatever a crash left beside it.

mod content;
mod presign;
mod upload;

pub use presign::{PresignedPost, PresignedPut};

use crate::{
    aws::Home,
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

/// Above all objects of files.
const PREFIX: &str = "files/";

/// Keys that S3 lists or deletes in one request.
const PAGE: usize = 1000;

/// How long to wait before listing again where nothing had expired: a listing costs money.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// [`FileStore`] on S3; what is known of a file is in DynamoDB.
#[derive(Clone)]
pub struct Files {
    home: Arc<Home>,
    /// When to list what may have expired, in milliseconds.
    look_at: Arc<AtomicI64>,
}

impl Files {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home, look_at: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    /// The item of a file of this app that has neither expired nor been deleted.
    async fn find(&self, app: AppId, id: FileId) -> Result<Option<(File, String)>, StoreError> {
        let found = self
            .home
            .clients
            .dynamodb
            .get_item()
            .table_name(&self.home.config.table)
            .key("PK", text(partition(id)))
            .key("SK", text("FILE"))
            // A run is created right after its file, by whatever process.
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

    /// Makes a file exist whose content is stored.
    async fn insert(&self, file: &NewFile, size: u64) -> Result<File, StoreError> {
        let object = object_key(file);
        // Nothing reads it from `expires_at` on; the table removes it when it comes to it.
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
            // The client sends again what was not answered in time: then it is there already.
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

    /// The first keys of files, the first to expire first.
    async fn first_keys(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let page = self
            .home
            .clients
            .s3
            .list_objects_v2()
            .bucket(&self.home.config.bucket)
            .prefix(PREFIX)
            .max_keys(i32::try_from(limit.min(PAGE)).unwrap_or(i32::MAX))
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
            // It was deleted since. (S3 tells who may not list that a missing key is forbidden.)
            Err(_) if self.find(app, id).await?.is_none() => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    async fn delete(&self, app: AppId, id: FileId) -> Result<(), StoreError> {
        // What is left of the item says where the object is, so that a deletion that was cut short can be repeated.
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
        // A deletion that is repeated was counted.
        if !item.contains_key("deleted") {
            self.home.counts.uncount_record(app, read.time("expires_at")?, read.number("size")?).await;
        }
        self.remove_object(read.text("object")?).await
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        if now.0 < self.look_at.load(Ordering::Relaxed) || limit == 0 {
            return Ok(0);
        }
        let mut expired = self.first_keys(limit).await?;
        // Keys sort by day.
        let today = format!("{PREFIX}{}/", day(now));
        expired.retain(|key| *key < today);
        if expired.is_empty() {
            self.look_at.store((now + LOOK_AGAIN).0, Ordering::Relaxed);
            return Ok(0);
        }
        self.remove_objects(&expired).await?;
        Ok(expired.len())
    }
}

fn partition(id: FileId) -> String {
    format!("FILE#{id}")
}

/// Where a file's content lies. Made of ids alone: a file's name is never a path.
fn object_key(file: &NewFile) -> String {
    format!("{PREFIX}{}/{}/{}", day(file.expires_at), file.app, file.id)
}

/// The day in UTC, `2026-06-10`. Days sort as they come, also where years have no four digits: there are none such.
fn day(time: Timestamp) -> String {
    let last = jiff::civil::Date::MAX;
    let date = jiff::Timestamp::from_millisecond(time.0.max(0))
        .map_or(last, |time| time.to_zoned(jiff::tz::TimeZone::UTC).date());
    date.to_string()
}

/// A media type that can stand in a header; where it cannot, that of bytes of whatever meaning.
fn content_type(mime_type: &str) -> &str {
    let is_good = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let is_type = mime_type.len() <= 255 && mime_type.contains('/') && mime_type.bytes().all(is_good);
    if is_type { mime_type } else { "application/octet-stream" }
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
