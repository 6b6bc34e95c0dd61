//! Configuration from environment variables.

use std::{env, env::VarError};

/// The resources of a stack, and how to use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `RUNYARD_TABLE`: the name of the DynamoDB table.
    pub table: String,
    /// `RUNYARD_BUCKET`: the name of the S3 bucket.
    pub bucket: String,
    /// `RUNYARD_QUEUE_URL`: the URL of the SQS queue.
    pub queue_url: String,
    /// `RUNYARD_APP_SHARDS`: number of index keys over which the runs of one app are spread, 1 to 16; 1 by default. One
    /// key takes about 300 new runs per second; each costs one request per page of a list. May be raised, never
    /// lowered: runs under dropped keys are no longer listed.
    pub app_shards: u8,
    /// `RUNYARD_DEFAULT_APP`: the name of the app that answers on hosts that name none. Without it, a deployment with a
    /// single app serves it on every host.
    pub default_app: Option<String>,
    /// An emulator to use instead of AWS. For tests, which cannot set environment variables; elsewhere, use the SDK's
    /// `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_DYNAMODB`, `…_S3`, `…_SQS`.
    pub emulator: Option<Emulator>,
}

/// The URLs of an emulator of AWS, which takes any credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// The URL of its DynamoDB.
    pub dynamodb: String,
    /// The URL of all other services.
    pub others: String,
}

/// A variable is missing or invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not set, or empty.
    #[error("{name} is not set: it names {what}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it names.
        what: &'static str,
    },
    /// Its value is not valid.
    #[error("{name}={value:?} is not {wanted}")]
    Bad {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What a valid value is.
        wanted: &'static str,
    },
}

const MAX_APP_SHARDS: u8 = 16;

impl Config {
    /// Reads the variables from the environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(&|name| match env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
        })
    }

    /// Reads the variables from `var`, which returns the value of a variable.
    pub fn from_vars(var: &dyn Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let required = |name, what| {
            var(name).filter(|value| !value.is_empty()).ok_or(ConfigError::Missing { name, what })
        };
        let queue_url = required("RUNYARD_QUEUE_URL", "the URL of the SQS queue")?;
        if !queue_url.starts_with("https://") && !queue_url.starts_with("http://") {
            let wanted = "a URL like https://sqs.eu-central-1.amazonaws.com/123456789012/runs";
            return Err(ConfigError::Bad { name: "RUNYARD_QUEUE_URL", value: queue_url, wanted });
        }
        let app_shards = match var("RUNYARD_APP_SHARDS").filter(|value| !value.is_empty()) {
            None => 1,
            Some(value) => {
                value.parse().ok().filter(|shards| (1..=MAX_APP_SHARDS).contains(shards)).ok_or({
                    ConfigError::Bad { name: "RUNYARD_APP_SHARDS", value, wanted: "a number from 1 to 16" }
                })?
            }
        };
        Ok(Self {
            table: required("RUNYARD_TABLE", "the DynamoDB table")?,
            bucket: required("RUNYARD_BUCKET", "the S3 bucket")?,
            queue_url,
            app_shards,
            default_app: var("RUNYARD_DEFAULT_APP").filter(|name| !name.is_empty()),
            emulator: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(set: &[(&str, &str)]) -> Result<Config, String> {
        let var = |name: &str| {
            let all = [
                ("RUNYARD_TABLE", "runyard"),
                ("RUNYARD_BUCKET", "runyard-files"),
                ("RUNYARD_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/1/runs"),
            ];
            let found = set.iter().chain(&all).find(|(found, _)| *found == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::from_vars(&var).map_err(|error| error.to_string())
    }

    #[test]
    fn an_error_names_the_variable() {
        assert_eq!(config(&[]).unwrap().app_shards, 1);
        assert_eq!(config(&[("RUNYARD_APP_SHARDS", "16")]).unwrap().app_shards, 16);
        assert_eq!(
            config(&[("RUNYARD_TABLE", "")]).unwrap_err(),
            "RUNYARD_TABLE is not set: it names the DynamoDB table"
        );
        for shards in ["0", "17", "many"] {
            assert_eq!(
                config(&[("RUNYARD_APP_SHARDS", shards)]).unwrap_err(),
                format!("RUNYARD_APP_SHARDS={shards:?} is not a number from 1 to 16")
            );
        }
        assert!(config(&[("RUNYARD_QUEUE_URL", "runs")]).unwrap_err().starts_with("RUNYARD_QUEUE_URL="));
    }
}
