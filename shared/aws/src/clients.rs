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
    /// For the table.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// For the bucket.
    pub s3: aws_sdk_s3::Client,
    /// For the queue.
    pub sqs: aws_sdk_sqs::Client,
    /// The configuration of the others, to create clients that only some processes need.
    pub sdk: SdkConfig,
}

/// A connection that takes longer is unlikely to succeed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Upper bound of the random wait before the first retry of a throttle or timeout; doubled for each further retry.
const INITIAL_BACKOFF: Duration = Duration::from_millis(25);

/// Upper bound of the wait before any retry.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Attempts of a call, unless its deadline passes first.
const MAX_ATTEMPTS: u32 = 8;

/// Timeouts of one attempt and of the whole call. A table answers in milliseconds; a lease lasts 60 s.
const DYNAMODB_TIMEOUTS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// Short, because a caller waits while a message is sent.
const SQS_TIMEOUTS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(8)];

/// Long enough to upload a part of 8 MiB in one attempt over a slow connection.
const S3_TIMEOUTS: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(90)];

impl Clients {
    /// Creates clients from the environment (region, credentials, `AWS_ENDPOINT_URL…`), or for an emulator.
    pub async fn connect(emulator: Option<&Emulator>) -> Self {
        let sdk = sdk_config(emulator).await;
        // An emulator shares its machine with its clients, so it may be slow.
        let timeouts = |times: [Duration; 2]| {
            timeouts(if emulator.is_some() { times.map(|time| time * 10) } else { times })
        };
        let mut dynamodb =
            aws_sdk_dynamodb::config::Builder::from(&sdk).timeout_config(timeouts(DYNAMODB_TIMEOUTS));
        let mut s3 = aws_sdk_s3::config::Builder::from(&sdk).timeout_config(timeouts(S3_TIMEOUTS));
        let mut sqs = aws_sdk_sqs::config::Builder::from(&sdk).timeout_config(timeouts(SQS_TIMEOUTS));
        if let Some(emulator) = emulator {
            dynamodb = dynamodb.endpoint_url(&emulator.dynamodb);
            s3 = s3.endpoint_url(&emulator.others);
            sqs = sqs.endpoint_url(&emulator.others);
        }
        // Host names of buckets do not resolve for an emulator.
        let is_emulated = emulator.is_some()
            || sdk.endpoint_url().is_some()
            || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        s3 = s3.force_path_style(is_emulated);
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
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(INITIAL_BACKOFF)
        .with_max_backoff(MAX_BACKOFF);
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
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(whole)
        .build()
}
