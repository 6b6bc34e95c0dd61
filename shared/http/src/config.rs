//! What a deployment may set.

use http::HeaderValue;
use std::time::Duration;

/// Limits and times of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Bytes of a JSON body: 4 MiB, the contract's limit on every backend.
    pub json_bytes: u64,
    /// Bytes of a multipart request: 128 MiB, or less where something in front takes less.
    pub multipart_bytes: u64,
    /// How long the next piece of a body may take: 30 s. A body must also come at 4 KiB/s on the whole.
    pub body_wait: Duration,
    /// How long a sync run is waited for; then its caller gets the run as it stands. A day, for a platform without a
    /// limit of its own.
    pub sync_wait: Duration,
    /// The silence after which the caller of a sync run gets white space, which JSON may begin with, and again after each
    /// further one; none where nothing between cuts a silent connection. From then on the status is 200.
    pub sync_silence: Option<Duration>,
    /// The silence after which a stream sends a heartbeat: 15 s.
    pub heartbeat: Duration,
    /// How often it is looked whether the caller of a stream, or of a run that is waited for, still may have the answer:
    /// 10 s. What is known of a key may be 15 s old, so that an answer ends within 30 s of its key's revocation.
    pub access_check: Duration,
    /// How long a stream stays open on a run that waits for a person; its client then comes back. None: as long as it
    /// waits. For a platform where an open stream costs money.
    pub paused_stream: Option<Duration>,
    /// How many streams of one app may be open: 4,096. A further one gets 429. `Http::streams` counts them.
    pub streams_per_app: u32,
    /// The origins whose pages may call from a browser, like `https://example.com`; `*` stands for all. None by default.
    pub cors_origins: Vec<HeaderValue>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            json_bytes: 4 << 20,
            multipart_bytes: 128 << 20,
            body_wait: Duration::from_secs(30),
            sync_wait: Duration::from_hours(24),
            sync_silence: None,
            heartbeat: Duration::from_secs(15),
            access_check: Duration::from_secs(10),
            paused_stream: None,
            streams_per_app: 4096,
            cors_origins: Vec::new(),
        }
    }
}
