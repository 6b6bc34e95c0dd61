//! Settings of a deployment.

use http::HeaderValue;
use std::time::Duration;

/// Limits and times of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Bytes of a JSON body. 4 MiB by default, the contract's limit on every backend.
    pub json_bytes: u64,
    /// Bytes of a multipart request. 128 MiB by default; less if a gateway in front accepts less.
    pub multipart_bytes: u64,
    /// How long the next piece of a body may take. 30 s by default. A body must also average 4 KiB/s.
    pub body_wait: Duration,
    /// How long the caller of a sync run waits at most; then it gets the run in its current state. A day by default, for a
    /// platform without a limit.
    pub sync_wait: Duration,
    /// How often the caller of a sync run gets white space, which JSON may begin with, until the run has ended. From the
    /// first one on, the status is 200. `None` if no proxy closes silent connections.
    pub sync_silence: Option<Duration>,
    /// How long a stream is silent before it sends a heartbeat. 15 s by default.
    pub heartbeat: Duration,
    /// How often the access of a caller of a stream or sync run is rechecked. 10 s by default. Keys may be cached for 15 s,
    /// so a response ends within 30 s after its key is revoked.
    pub access_check: Duration,
    /// How long a stream of a paused run stays open; its client then reconnects. `None`: as long as the run is paused. Set
    /// it on a platform where an open stream costs money.
    pub paused_stream: Option<Duration>,
    /// Open streams of one app, counted by `Http::streams`. 4,096 by default. A further one gets 429.
    pub streams_per_app: u32,
    /// Origins whose pages may call from a browser, such as `https://example.com`; `*` allows all. None by default.
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
