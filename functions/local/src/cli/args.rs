//! Options that several commands share.

use crate::exit::usage;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value};
use std::{io::Read, path::PathBuf};

/// The folders of apps and data on this machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The folder of apps, each a folder with an app.yaml
    #[arg(long, value_name = "DIR", env = "RUNYARD_APPS", default_value = "apps", help_heading = "Folders")]
    pub(crate) apps: PathBuf,
    /// The folder that keeps runs, files and keys; created if it does not exist
    #[arg(
        long,
        value_name = "DIR",
        env = "RUNYARD_DATA",
        default_value = ".runyard",
        help_heading = "Folders"
    )]
    pub(crate) data: PathBuf,
    /// The app for hosts that name none; if not given, ticket-triage if it exists, else the first
    #[arg(long, value_name = "NAME", env = "RUNYARD_DEFAULT_APP", help_heading = "Folders")]
    pub(crate) default_app: Option<String>,
}

/// Where apps and keys are managed: on this machine, or on a stack.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeysPlace {
    #[command(flatten)]
    pub(crate) here: Place,
    #[cfg(feature = "aws")]
    #[command(flatten)]
    pub(crate) stack: super::stack::StackArgs,
}

impl KeysPlace {
    /// The place, for messages.
    pub(crate) fn shown(&self) -> String {
        #[cfg(feature = "aws")]
        if self.stack.is_given() {
            return self.stack.shown();
        }
        self.here.data.display().to_string()
    }
}

/// Which server to call, if any.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Call this server; without it, work on --data in this process
    #[arg(long, env = "RUNYARD_URL", help_heading = "Server")]
    pub(crate) url: Option<String>,
    /// The access key for --url
    #[arg(long, env = "RUNYARD_KEY", hide_env_values = true, help_heading = "Server")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// The JSON object of an argument: the text itself, `@file`, or `@-` for stdin.
pub(crate) fn json_object(argument: &str, option: &str) -> Result<Map<String, Value>> {
    match json_value(argument, option)? {
        Value::Object(object) => Ok(object),
        _ => Err(usage(format!("{option} is not a JSON object: give one like '{{\"question\": \"why?\"}}'"))),
    }
}

/// [`json_object`], for any JSON value.
pub(crate) fn json_value(argument: &str, option: &str) -> Result<Value> {
    let (text, source) = match argument.strip_prefix('@') {
        None => (argument.to_owned(), option.to_owned()),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
            (text, "stdin".to_owned())
        }
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| usage(format!("cannot read {path}, which {option} names: {error}")))?;
            (text, path.to_owned())
        }
    };
    serde_json::from_str(&text).map_err(|error| usage(format!("{source} is not JSON: {error}")))
}

/// Parses `key=value`, for clap.
pub(crate) fn key_value(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}
