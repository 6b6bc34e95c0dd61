//! What the environment says of the API.

use http::HeaderValue;
use runyard_boot::{
    env::{BadVariable, Env},
    lambda,
};
use std::{str::FromStr, time::Duration};

/// How the function answers, and with which limits.
#[derive(Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) role: Role,
    pub(crate) stands_still: bool,
    pub(crate) http: runyard_http::Config,
}

/// How a function answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// As the answer comes to be, for up to 15 min.
    #[default]
    Stream,
    /// When it is whole.
    Control,
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stream" => Ok(Self::Stream),
            "control" => Ok(Self::Control),
            _ => Err("there is no such role"),
        }
    }
}

/// Bytes of a multipart request: Lambda takes 6 MB an event, a body stands in it as base64, and the rest is the headers'.
const MULTIPART_BYTES: u64 = 4 << 20;
/// API Gateway cuts a silent connection after 5 min, and other things between sooner.
const SYNC_SILENCE: Duration = Duration::from_mins(1);
/// A stream that waits for a person costs memory and time as one that works does.
const PAUSED_STREAM: Duration = Duration::from_mins(1);

impl Config {
    /// | variable | meaning |
    /// | --- | --- |
    /// | `RUNYARD_ROLE` | `stream` (the default) or `control` |
    /// | `RUNYARD_CORS_ORIGINS` | origins whose pages may call from a browser, between commas |
    /// | `RUNYARD_STREAMS_PER_APP` | how many streams of an app may be open, over all processes where the backend is `aws` (4,096) |
    pub(crate) fn from_env(env: &Env) -> Result<Self, BadVariable> {
        const ORIGINS: &str = "RUNYARD_CORS_ORIGINS";
        let mut http = runyard_http::Config {
            multipart_bytes: MULTIPART_BYTES,
            sync_silence: Some(SYNC_SILENCE),
            paused_stream: Some(PAUSED_STREAM),
            ..runyard_http::Config::default()
        };
        for origin in env.list(ORIGINS) {
            let is_one = origin == "*" || origin.starts_with("https://") || origin.starts_with("http://");
            let value = HeaderValue::from_str(&origin).ok().filter(|_| is_one && !origin.ends_with('/'));
            let problem = || format!("has {origin:?}, and must have origins like https://example.com, or *");
            http.cors_origins.push(value.ok_or_else(|| BadVariable::new(ORIGINS, problem()))?);
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
    fn a_bad_variable_is_named() {
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
