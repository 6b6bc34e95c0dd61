use crate::place::Place;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use runyard_aws::{Aws, Clients, Config, Files, PresignedPut};
use runyard_conformance::make::NOW;
use runyard_runs::{AppId, Clock, FileId, NewFile, SystemClock, SystemIds, Timestamp};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use uuid::Uuid;

const VALID: Duration = Duration::from_mins(15);

struct FixedClock(Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Files of a bucket in Frankfurt, with the credentials of AWS's examples. Nothing is sent.
fn files(token: Option<&str>) -> Arc<Files> {
    let (id, secret) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let credentials = Credentials::new(id, secret, token.map(str::to_owned), None, "example");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let clients = Clients {
        dynamodb: aws_sdk_dynamodb::Client::new(&sdk),
        s3: aws_sdk_s3::Client::new(&sdk),
        sqs: aws_sdk_sqs::Client::new(&sdk),
        sdk,
    };
    let config = Config {
        table: "runyard".to_owned(),
        bucket: "runyard-files".to_owned(),
        queue_url: "https://sqs.eu-central-1.amazonaws.com/1/runs".to_owned(),
        app_shards: 1,
        default_app: None,
        emulator: None,
    };
    Aws::with_clients(config, clients, Arc::new(FixedClock(NOW)), Arc::new(SystemIds)).files()
}

fn file(mime_type: &str) -> NewFile {
    NewFile {
        id: FileId(Uuid::from_u128(2)),
        app: AppId(Uuid::from_u128(1)),
        name: "notes.txt".to_owned(),
        mime_type: mime_type.to_owned(),
        expires_at: NOW + Duration::from_hours(48),
    }
}

const KEY: &str =
    "files/2026-06-12/00000000-0000-0000-0000-000000000001/00000000-0000-0000-0000-000000000002";

/// The signatures are those of botocore 1.43 (`S3SigV4QueryAuth`) for the same request at the same time.
#[tokio::test]
async fn a_put_is_signed_as_botocore_signs_it() {
    for (token, signature) in [
        (None, "f63bd33403c13ac03223c6163863ba25498ad3bde12e33a9e5c93a6b52764c95"),
        (Some("session-token"), "420ecb05deee5ee0d362b43cc9bed07bad906edba296a0f0d1bee4799e546438"),
    ] {
        let put = files(token).presign_put(&file("text/plain; charset=utf-8"), 1234, VALID).await.unwrap();
        let (path, query) = put.url.split_once('?').unwrap();
        assert_eq!(path, format!("https://runyard-files.s3.eu-central-1.amazonaws.com/{KEY}"));
        let query: BTreeMap<_, _> = query.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        let mut expected = BTreeMap::from([
            ("x-id", "PutObject"),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE%2F20260610%2Feu-central-1%2Fs3%2Faws4_request"),
            ("X-Amz-Date", "20260610T091521Z"),
            ("X-Amz-Expires", "900"),
            ("X-Amz-SignedHeaders", "content-disposition%3Bcontent-length%3Bcontent-type%3Bhost"),
            ("X-Amz-Signature", signature),
        ]);
        if let Some(token) = token {
            expected.insert("X-Amz-Security-Token", token);
        }
        assert_eq!(query, expected);
        let headers: BTreeMap<_, _> =
            put.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let signed = [
            ("content-disposition", "attachment"),
            ("content-length", "1234"),
            ("content-type", "text/plain; charset=utf-8"),
        ];
        assert_eq!(headers, BTreeMap::from(signed), "all signed headers must be sent");
        assert_eq!(put.expires_at, NOW + VALID);
        let shown = format!("{put:?}");
        assert!(shown.contains("runyard-files") && !shown.contains(signature), "{shown}");
    }
}

#[tokio::test]
async fn the_policy_of_a_post_restricts_what_may_be_sent() {
    let post = files(Some("session-token")).presign_post(&file("image/png"), 1..=1000, VALID).await.unwrap();
    assert_eq!(post.url, "https://runyard-files.s3.eu-central-1.amazonaws.com/");
    let fields: BTreeMap<_, _> =
        post.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let policy = aws_smithy_types::base64::decode(fields["policy"]).unwrap();
    let policy: Value = serde_json::from_slice(&policy).unwrap();
    assert_eq!(
        policy,
        json!({
            "expiration": "2026-06-10T09:30:21.000Z",
            "conditions": [
                {"bucket": "runyard-files"},
                ["eq", "$key", KEY],
                ["eq", "$Content-Type", "image/png"],
                ["eq", "$Content-Disposition", "attachment"],
                ["eq", "$success_action_status", "204"],
                ["eq", "$x-amz-algorithm", "AWS4-HMAC-SHA256"],
                ["eq", "$x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20260610/eu-central-1/s3/aws4_request"],
                ["eq", "$x-amz-date", "20260610T091521Z"],
                ["eq", "$x-amz-security-token", "session-token"],
                ["content-length-range", 1, 1000],
            ],
        })
    );
    // Every field except the policy and its signature has a condition, and vice versa: S3 refuses fields without one.
    let conditions = policy["conditions"].as_array().unwrap().iter();
    let fixed: BTreeMap<_, _> = conditions
        .filter(|condition| condition[0] == "eq")
        .map(|condition| {
            (condition[1].as_str().unwrap().trim_start_matches('$'), condition[2].as_str().unwrap())
        })
        .collect();
    let mut given = fields.clone();
    given.remove("policy");
    given.remove("x-amz-signature");
    assert_eq!(given, fixed);
    // Computed with Python's `hmac` over the policy above.
    let signature = "74d43e8e4031634ecf23d8bc86f7f1b01cc6184a44349da664967e54ecba696f";
    assert_eq!(fields["x-amz-signature"], signature);
    assert!(!format!("{post:?}").contains(signature));
}

#[tokio::test]
async fn requests_that_s3_would_refuse_are_not_signed() {
    let files = files(None);
    assert!(files.presign_put(&file("a/b"), (5 << 30) + 1, VALID).await.is_err());
    assert!(files.presign_put(&file("a/b"), 5 << 30, VALID).await.is_ok());
    assert!(files.presign_post(&file("a/b"), 0..=(5 << 30) + 1, VALID).await.is_err());
    let long = files.presign_put(&file("a/b"), 1, Duration::from_hours(10_000)).await.unwrap();
    assert_eq!(long.expires_at, NOW + Duration::from_hours(168));
}

/// The emulator accepts any signature that has not expired: this shows that the presigned requests store the object.
#[tokio::test]
async fn presigned_uploads_store_the_object() {
    let place = Place::new().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |put: PresignedPut| {
        let mut request = client.put(&put.url).body("by PUT");
        for (name, value) in &put.headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let put = place.aws.files().presign_put(&file("text/plain"), 6, VALID).await.unwrap();
    assert_eq!(send(put).await, 403, "it expired long ago");
    place.clock.forward(SystemClock.now().since(NOW));
    let put = place.aws.files().presign_put(&file("text/plain"), 6, VALID).await.unwrap();
    assert_eq!(send(put).await, 200);
    assert_eq!(object(&place).await, ("by PUT".to_owned(), "text/plain".to_owned()));

    let post = place.aws.files().presign_post(&file("image/png"), 1..=100, VALID).await.unwrap();
    let mut form = reqwest::multipart::Form::new();
    for (name, value) in post.fields {
        form = form.text(name, value);
    }
    let form = form.part("file", reqwest::multipart::Part::bytes(b"by POST".to_vec()).file_name("x"));
    let response = client.post(&post.url).multipart(form).send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    assert_eq!(object(&place).await, ("by POST".to_owned(), "image/png".to_owned()));
}

async fn object(place: &Place) -> (String, String) {
    let object = place.clients.s3.get_object().bucket(&place.config.bucket).key(KEY).send().await.unwrap();
    let content_type = object.content_type().unwrap_or_default().to_owned();
    let content = object.body.collect().await.unwrap().to_vec();
    (String::from_utf8(content).unwrap(), content_type)
}
