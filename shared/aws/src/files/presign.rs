//! Presigned requests, with which clients upload directly to S3.
//!
//! S3 enforces the signature, not this service: the holder of a presigned request cannot change the key, the media type
//! or the size, and can store only this one object, until the request expires.

use super::{Files, content_type, object_key, upload::DISPOSITION};
use crate::error::store_error;
use aws_sdk_s3::{
    config::{Credentials, ProvideCredentials},
    presigning::PresigningConfig,
};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use runyard_runs::{NewFile, StoreError, Timestamp};
use serde_json::{Value, json};
use std::{
    fmt,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

/// The longest that S3 accepts a presigned request for.
const MAX_VALIDITY: Duration = Duration::from_hours(7 * 24);

/// The largest object that one PUT or POST stores.
const MAX_OBJECT_BYTES: u64 = 5 << 30;

/// An upload by `PUT`: the content is the body.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedPut {
    /// The URL to send it to.
    pub url: String,
    /// The headers that must be sent unchanged, including `content-length`.
    pub headers: Vec<(String, String)>,
    /// When it expires: S3 refuses it from then on.
    pub expires_at: Timestamp,
}

/// An upload by `POST`, as an HTML form sends it: `multipart/form-data` of these fields, and the content as the last one,
/// `file`.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedPost {
    /// The URL to send it to.
    pub url: String,
    /// The fields that must be sent unchanged, before the content.
    pub fields: Vec<(String, String)>,
    /// When it expires: S3 refuses it from then on.
    pub expires_at: Timestamp,
}

impl Files {
    /// Presigns the upload of a file of exactly `size` bytes, at most 5 GiB, by `PUT`. It is valid for `valid`, at most
    /// a week, and no longer than the credentials that sign it.
    pub async fn presign_put(
        &self,
        file: &NewFile,
        size: u64,
        valid: Duration,
    ) -> Result<PresignedPut, StoreError> {
        let (now, valid) = (self.home.clock.now(), valid.min(MAX_VALIDITY));
        let size = i64::try_from(size.min(MAX_OBJECT_BYTES + 1))
            .ok()
            .filter(|size| size.unsigned_abs() <= MAX_OBJECT_BYTES)
            .ok_or_else(|| refused("one PUT stores at most 5 GiB: upload the file in parts"))?;
        let presigned = self
            .home
            .clients
            .s3
            .put_object()
            .bucket(&self.home.config.bucket)
            .key(object_key(file))
            .content_type(content_type(&file.mime_type))
            .content_disposition(DISPOSITION)
            .content_length(size)
            .presigned(presigning(now, valid)?)
            .await
            .map_err(store_error)?;
        let headers = presigned.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(PresignedPut {
            url: presigned.uri().to_owned(),
            headers: headers.collect(),
            expires_at: now + valid,
        })
    }

    /// Presigns the upload of a file by `POST`, with a number of bytes in the range `sizes`, at most 5 GiB. It is valid
    /// for `valid`, at most a week, and no longer than the credentials that sign it.
    pub async fn presign_post(
        &self,
        file: &NewFile,
        sizes: RangeInclusive<u64>,
        valid: Duration,
    ) -> Result<PresignedPost, StoreError> {
        if sizes.is_empty() || *sizes.end() > MAX_OBJECT_BYTES {
            return Err(refused("one POST stores at most 5 GiB: upload the file in parts"));
        }
        let now = self.home.clock.now();
        let clients = &self.home.clients;
        let provider = clients.sdk.credentials_provider();
        let provider = provider.ok_or_else(|| refused("no AWS credentials are configured"))?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| StoreError::Unknown(error.into()))?;
        let region = clients.s3.config().region().ok_or_else(|| refused("no AWS region is configured"))?;
        let policy = Policy {
            bucket: &self.home.config.bucket,
            key: object_key(file),
            content_type: content_type(&file.mime_type),
            sizes,
            now,
            expires_at: now + valid.min(MAX_VALIDITY),
            region: region.as_ref(),
            credentials: &credentials,
        };
        let url = self.bucket_url(&policy.key, now).await?;
        Ok(PresignedPost { url, expires_at: policy.expires_at, fields: policy.fields() })
    }

    /// The bucket's URL as the SDK resolves it: the rules for endpoints differ between AWS partitions and for emulators.
    async fn bucket_url(&self, key: &str, now: Timestamp) -> Result<String, StoreError> {
        let put = self.home.clients.s3.put_object().bucket(&self.home.config.bucket).key(key);
        let put = put.presigned(presigning(now, MAX_VALIDITY)?).await.map_err(store_error)?;
        let path = put.uri().split('?').next().unwrap_or_default();
        path.strip_suffix(key)
            .map(str::to_owned)
            .ok_or_else(|| refused("the URL of an object does not end with its key"))
    }
}

/// The conditions of a `POST` that S3 checks.
struct Policy<'a> {
    bucket: &'a str,
    key: String,
    content_type: &'a str,
    sizes: RangeInclusive<u64>,
    now: Timestamp,
    expires_at: Timestamp,
    region: &'a str,
    credentials: &'a Credentials,
}

impl Policy<'_> {
    /// The form's fields: those that the policy fixes, the policy, its signature.
    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = self.fixed();
        let policy = aws_smithy_types::base64::encode(self.document(&fields).to_string());
        let secret = self.credentials.secret_access_key();
        let signature = sign(&policy, secret, self.now, self.region);
        fields.push(("policy".to_owned(), policy));
        fields.push(("x-amz-signature".to_owned(), signature));
        fields
    }

    fn fixed(&self) -> Vec<(String, String)> {
        let time = basic_time(self.now);
        let id = self.credentials.access_key_id();
        let credential = format!("{id}/{}/{}/s3/aws4_request", &time[..8], self.region);
        let mut fields = vec![
            ("key", self.key.clone()),
            ("Content-Type", self.content_type.to_owned()),
            ("Content-Disposition", DISPOSITION.to_owned()),
            ("success_action_status", "204".to_owned()),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", time),
        ];
        if let Some(token) = self.credentials.session_token() {
            fields.push(("x-amz-security-token", token.to_owned()));
        }
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The policy: each field must have exactly this value, and the content one of the sizes.
    fn document(&self, fixed: &[(String, String)]) -> Value {
        let mut conditions = vec![json!({ "bucket": self.bucket })];
        conditions.extend(fixed.iter().map(|(name, value)| json!(["eq", format!("${name}"), value])));
        conditions.push(json!(["content-length-range", self.sizes.start(), self.sizes.end()]));
        json!({ "expiration": iso_time(self.expires_at), "conditions": conditions })
    }
}

/// The signature of a policy in Base64.
fn sign(policy: &str, secret: &str, now: Timestamp, region: &str) -> String {
    let key = generate_signing_key(secret, system_time(now), region, "s3");
    calculate_signature(key, policy.as_bytes())
}

fn presigning(now: Timestamp, valid: Duration) -> Result<PresigningConfig, StoreError> {
    let config = PresigningConfig::builder().start_time(system_time(now)).expires_in(valid).build();
    config.map_err(|error| StoreError::Failed(error.into()))
}

fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time.0.max(0).unsigned_abs())
}

/// `20260610T091521Z`.
fn basic_time(time: Timestamp) -> String {
    time.to_string().replace(['-', ':'], "")
}

/// `2026-06-10T09:15:21.000Z`, the format of a policy's expiration. Fractions of seconds are truncated.
fn iso_time(time: Timestamp) -> String {
    time.to_string().replace('Z', ".000Z")
}

fn refused(message: &'static str) -> StoreError {
    StoreError::Failed(message.into())
}

/// Omits the signature: anyone who has it can upload.
impl fmt::Debug for PresignedPut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("PresignedPut")
            .field("url", &url)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Omits the signature: anyone who has it can upload.
impl fmt::Debug for PresignedPost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresignedPost")
            .field("url", &self.url)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in S3's documentation of uploads by POST.
    #[test]
    fn policies_are_signed_as_in_the_s3_documentation() {
        let policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6\
            ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFj\
            bCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tl\
            dC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5\
            cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZl\
            ci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoN\
            CiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVx\
            dWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAx\
            NTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
        let now = "2015-12-29T00:00:00Z".parse().unwrap();
        assert_eq!(
            sign(policy, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", now, "us-east-1"),
            "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
        );
    }
}
