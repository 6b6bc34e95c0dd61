//! The SDK's clients.

use crate::config::Emulator;
use aws_config::{
    BehaviorVersion, Region, SdkConfig,
    retry::RetryConfig,
    timeout::{TimeoutConfig, TimeoutConfigBuilder},
};
use aws_sdk_dynamodb::config::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::time::Duration;

/// The clients that the ports use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Of the table.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Of the bucket.
    pub s3: aws_sdk_s3::Client,
    /// Of the queue.
    pub sqs: aws_sdk_sqs::Client,
    /// What the others are made of: for clients that only some processes need.
    pub sdk: SdkConfig,
}

/// A connection that is not made by then is not going to be.
const CONNECT: Duration = Duration::from_secs(1);

/// Throttles and time-outs are tried again after a random wait up to this, doubled each time,
const FIRST_BACK_OFF: Duration = Duration::from_millis(25);

/// but never longer than this,
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// so many times, or until the deadline of the whole call.
const ATTEMPTS: u32 = 8;

/// One attempt, and the whole call. A table answers in milliseconds; a lease lasts 60 s.
const DYNAMODB: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// A message is sent while a caller waits.
const SQS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(8)];

/// A part of 8 MiB goes up within one attempt, from wherever this runs.
const S3: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(90)];

impl Clients {
    /// Clients for what the environment says (region, credentials, `AWS_ENDPOINT_URL…`), or for an emulator.
    pub async fn connect(emulator: Option<&Emulator>) -> Self {
        let sdk = sdk_config(emulator).await;
        // An emulator shares its machine with whoever asks.
        let timeouts = |times: [Duration; 2]| {
            timeouts(if emulator.is_some() { times.map(|time| time * 10) } else { times })
        };
        let mut dynamodb = aws_sdk_dynamodb::config::Builder::from(&sdk).timeout_config(timeouts(DYNAMODB));
        let mut s3 = aws_sdk_s3::config::Builder::from(&sdk).timeout_config(timeouts(S3));
        let mut sqs = aws_sdk_sqs::config::Builder::from(&sdk).timeout_config(timeouts(SQS));
        if let Some(emulator) = emulator {
            dynamodb = dynamodb.endpoint_url(&emulator.dynamodb);
            s3 = s3.endpoint_url(&emulator.others);
            sqs = sqs.endpoint_url(&emulator.others);
        }
        // Nobody resolves host names of buckets for an emulator.
        let elsewhere = emulator.is_some()
            || sdk.endpoint_url().is_some()
            || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        s3 = s3.force_path_style(elsewhere);
        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            sdk,
        }
    }
}

pub(crate) async fn sdk_config(emulator: Option<&Emulator>) -> SdkConfig {
    let https =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_BACK_OFF)
        .with_max_backoff(LONGEST_BACK_OFF);
    let mut loader =
        aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(https).retry_config(retries);
    if let Some(emulator) = emulator {
        loader = loader
            .endpoint_url(&emulator.others)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "emulator"));
    }
    loader.load().await
}

fn timeouts([attempt, whole]: [Duration; 2]) -> TimeoutConfig {
    TimeoutConfigBuilder::new()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(whole)
        .build()
}
