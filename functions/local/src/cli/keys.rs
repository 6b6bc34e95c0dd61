//! `runyard keys`: access keys.

use super::{args::KeysPlace, output};
use crate::{
    exit::{Exit, usage},
    keyring::Keyring,
};
use anyhow::Result;
use clap::{Args, Subcommand};
use runyard_runs::{AccessKey, OrganizationId, ProjectId, Scope, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

#[cfg(not(feature = "aws"))]
const EXAMPLES: &str = "Examples:
  runyard keys create --expires 90d
  runyard keys create --org 5b0c5f2e-6a51-4a43-9c39-0d4d6f6c8a03 --project 5b0c5f2e-6a51-4a43-9c39-0d4d6f6c8a02
  runyard keys revoke 3f9a1c0b2d4e5f60

A server on the same data applies a change within 30 s.";

#[cfg(feature = "aws")]
const EXAMPLES: &str = "Examples:
  runyard keys create --expires 90d
  runyard keys create --org 5b0c5f2e-6a51-4a43-9c39-0d4d6f6c8a03 --project 5b0c5f2e-6a51-4a43-9c39-0d4d6f6c8a02
  runyard keys create --stack runyard --expires 90d
  runyard keys revoke 3f9a1c0b2d4e5f60 --stack runyard

A server on the same data or stack applies a change within 30 s.";

/// See [`super::Command::Keys`].
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum KeysCommand {
    /// Create a key and print it: it is stored as a hash, and never shown again
    Create(CreateArgs),
    /// List keys, without their secrets
    List(ListArgs),
    /// Revoke a key
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// The organization whose apps the key opens; may be omitted if all apps belong to one
    #[arg(long, value_name = "UUID")]
    org: Option<OrganizationId>,
    /// Only the apps of this project
    #[arg(long, value_name = "UUID")]
    project: Option<ProjectId>,
    /// When it expires: after days (90d), hours (12h) or weeks (4w), or on a date (2027-01-31, in UTC)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// For scripts: the key and its fields in one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: KeysPlace,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only keys of this organization
    #[arg(long, value_name = "UUID")]
    org: Option<OrganizationId>,
    /// Only keys of this project
    #[arg(long, value_name = "UUID")]
    project: Option<ProjectId>,
    /// For scripts: one line of JSON per key
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: KeysPlace,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The key's public part: the 16 digits after `ry_`. The whole key works too
    key: String,
    #[command(flatten)]
    place: KeysPlace,
}

pub(super) async fn keys(command: KeysCommand) -> Result<Exit> {
    match command {
        KeysCommand::Create(args) => create(args).await,
        KeysCommand::List(args) => list(&args).await,
        KeysCommand::Revoke(args) => revoke(&args).await,
    }
}

async fn create(args: CreateArgs) -> Result<Exit> {
    let keyring = Keyring::open(&args.place).await?;
    let expires_at = args.expires.as_deref().map(|text| until(text, Keyring::now())).transpose()?;
    let organization = match args.org {
        Some(organization) => organization,
        None => keyring.shared_organization(&args.place).await?,
    };
    let scope = Scope { organization, project: args.project };
    let (credential, key) = keyring.create(scope, expires_at).await?;
    if args.json {
        let mut shown = shown(&key, Keyring::now());
        shown["key"] = credential.reveal().into();
        output::json(&shown, true)?;
    } else {
        output::line(&credential.reveal())?;
        anstream::eprintln!(
            "save it now: it is not shown again. `runyard keys revoke {}` revokes it",
            key.id
        );
    }
    Ok(Exit::Done)
}

async fn list(args: &ListArgs) -> Result<Exit> {
    let keyring = Keyring::open(&args.place).await?;
    let now = Keyring::now();
    let mut rows = Vec::new();
    for key in keyring.list().await? {
        if args.org.is_some_and(|org| org != key.scope.organization)
            || args.project.is_some_and(|project| Some(project) != key.scope.project)
        {
            continue;
        }
        let shown = shown(&key, now);
        if args.json {
            output::json(&shown, true)?;
        } else {
            let cell = |field: &str| shown[field].as_str().unwrap_or("").to_owned();
            rows.push(
                ["id", "status", "organization", "project", "created_at", "expires_at"].map(cell).to_vec(),
            );
        }
    }
    if !args.json {
        output::table(&["KEY", "STATUS", "ORGANIZATION", "PROJECT", "CREATED", "EXPIRES"], &rows)?;
    }
    Ok(Exit::Done)
}

async fn revoke(args: &RevokeArgs) -> Result<Exit> {
    let keyring = Keyring::open(&args.place).await?;
    let id =
        args.key.strip_prefix("ry_").map_or(args.key.as_str(), |rest| rest.split('_').next().unwrap_or(rest));
    if !keyring.revoke(id).await? {
        return Err(usage(format!("no key {id} in {}: `runyard keys list` lists them", args.place.shown())));
    }
    output::line(&format!("revoked {id}"))?;
    Ok(Exit::Done)
}

fn shown(key: &AccessKey, now: Timestamp) -> Value {
    let status = if key.revoked_at.is_some() {
        "revoked"
    } else if key.expires_at.is_some_and(|expires| expires <= now) {
        "expired"
    } else {
        "good"
    };
    let mut shown = json!({
        "id": key.id,
        "status": status,
        "organization": key.scope.organization,
        "created_at": key.created_at.to_string(),
    });
    if let Some(project) = key.scope.project {
        shown["project"] = project.to_string().into();
    }
    for (name, time) in [("expires_at", key.expires_at), ("revoked_at", key.revoked_at)] {
        if let Some(time) = time {
            shown[name] = time.to_string().into();
        }
    }
    shown
}

/// Parses `90d`, `12h`, `4w`, a date or a time.
fn until(text: &str, now: Timestamp) -> Result<Timestamp> {
    let invalid =
        || usage(format!("--expires {text}: must be like 90d, 12h or 4w, or a date like 2027-01-31"));
    let at = if let Some((number, unit)) =
        text.char_indices().last().map(|(last, unit)| (&text[..last], unit))
        && let Ok(number) = number.parse::<u32>()
    {
        let hours = match unit {
            'h' => 1,
            'd' => 24,
            'w' => 168,
            _ => return Err(invalid()),
        };
        now + Duration::from_secs(u64::from(number) * hours * 3600)
    } else if let Ok(time) = text.parse() {
        time
    } else {
        let date: jiff::civil::Date = text.parse().map_err(|_| invalid())?;
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| invalid())?;
        Timestamp(midnight.timestamp().as_millisecond())
    };
    if at <= now {
        return Err(usage(format!("--expires {text}: must be in the future")));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_parsed_and_must_be_in_the_future() {
        let now: Timestamp = "2026-06-10T09:15:21Z".parse().unwrap();
        let expires_at =
            |text| until(text, now).map(|time| time.to_string()).map_err(|error| error.to_string());
        assert_eq!(expires_at("90d").unwrap(), "2026-09-08T09:15:21Z");
        assert_eq!(expires_at("12h").unwrap(), "2026-06-10T21:15:21Z");
        assert_eq!(expires_at("2027-01-31").unwrap(), "2027-01-31T00:00:00Z");
        assert_eq!(expires_at("2027-01-31T10:00:00+02:00").unwrap(), "2027-01-31T08:00:00Z");
        for invalid in ["", "d", "90", "90y", "0d", "2020-01-01", "tomorrow", "ü"] {
            assert!(expires_at(invalid).is_err(), "{invalid}");
        }
    }
}
