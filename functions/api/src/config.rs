//! The API's configuration from the environment.

use http::HeaderValue;
use runyard_boot::{
    env::{BadVariable, Env},
    lambda,
};
use std::{str::FromStr, time::Duration};

/// The function's role and limits.
#[derive(Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) role: Role,
    pub(crate) stands_still: bool,
    pub(crate) http: runyard_http::Config,
}

/// How the function answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Streams the response as it is produced, for up to 15 min.
    #[default]
    Stream,
    /// Sends the response when it is complete.
    Control,
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stream" => Ok(Self::Stream),
            "control" => Ok(Self::Control),
            _ => Err("unknown role"),
        }
    }
}

/// Bytes of a multipart request: Lambda accepts events of 6 MB, which hold the body as base64, and the headers.
const MULTIPART_BYTES: u64 = 4 << 20;
/// API Gateway cuts a silent connection after 5 min, and other hops do so earlier.
const SYNC_SILENCE: Duration = Duration::from_mins(1);
/// A stream that waits for a person costs as much memory and time as one that delivers events.
const PAUSED_STREAM: Duration = Duration::from_mins(1);

impl Config {
    /// | variable | meaning |
    /// | --- | --- |
    /// | `RUNYARD_ROLE` | `stream` (the default) or `control` |
    /// | `RUNYARD_CORS_ORIGINS` | origins whose pages may call from a browser, separated by commas |
    /// | `RUNYARD_STREAMS_PER_APP` | open streams per app (4,096), over all processes where the backend is `aws` |
    pub(crate) fn from_env(env: &Env) -> Result<Self, BadVariable> {
        const ORIGINS: &str = "RUNYARD_CORS_ORIGINS";
        let mut http = runyard_http::Config {
            multipart_bytes: MULTIPART_BYTES,
            sync_silence: Some(SYNC_SILENCE),
            paused_stream: Some(PAUSED_STREAM),
            ..runyard_http::Config::default()
        };
        for origin in env.list(ORIGINS) {
            let is_origin = origin == "*" || origin.starts_with("https://") || origin.starts_with("http://");
            let value = HeaderValue::from_str(&origin).ok().filter(|_| is_origin && !origin.ends_with('/'));
            let message = || format!("has {origin:?}, and must have origins like https://example.com, or *");
            http.cors_origins.push(value.ok_or_else(|| BadVariable::new(ORIGINS, message()))?);
        }
        if let Some(streams) = env.parsed("RUNYARD_STREAMS_PER_APP", "a number of streams")? {
            http.streams_per_app = streams;
        }
        let role = env.parsed("RUNYARD_ROLE", "stream or control")?.unwrap_or_default();
        Ok(Self { role, stands_still: lambda::stands_still(env)?, http })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Role};
    use runyard_boot::env::Env;

    #[test]
    fn an_invalid_variable_is_named() {
        let of = |variables: &[(&str, &str)]| Config::from_env(&Env::of(variables));
        assert_eq!(of(&[]).unwrap().role, Role::Stream);
        assert_eq!(of(&[("RUNYARD_ROLE", "control")]).unwrap().role, Role::Control);
        assert!(of(&[("AWS_LAMBDA_MAX_CONCURRENCY", "1")]).unwrap().stands_still);
        assert!(!of(&[("AWS_LAMBDA_MAX_CONCURRENCY", "8")]).unwrap().stands_still);
        let config = of(&[("RUNYARD_CORS_ORIGINS", "https://a.example, *")]).unwrap();
        assert_eq!(config.http.cors_origins, ["https://a.example", "*"]);
        for (name, value) in [
            ("RUNYARD_ROLE", "both"),
            ("RUNYARD_CORS_ORIGINS", "a.example"),
            ("RUNYARD_CORS_ORIGINS", "https://a.example/"),
            ("RUNYARD_STREAMS_PER_APP", "-1"),
        ] {
            let error = of(&[(name, value)]).unwrap_err();
            assert_eq!(error.name, name, "{error}");
        }
    }
}
