//! `runyard apps deploy`, `rollback`, `versions`, and `list --stack`: apps on a stack.

use super::{
    output,
    stack::{StackArgs, deploy_error},
};
use crate::{exit::Exit, plug};
use anyhow::Result;
use clap::Args;
use runyard_aws::Deployed;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct DeployArgs {
    /// The folder of the app, or its name
    #[arg(value_name = "DIR|NAME")]
    which: String,
    /// For scripts: the result in one line of JSON
    #[arg(long)]
    json: bool,
    /// The folder of apps, for an app given by name
    #[arg(long, value_name = "DIR", env = "RUNYARD_APPS", default_value = "apps")]
    apps: PathBuf,
    #[command(flatten)]
    stack: StackArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RollbackArgs {
    /// The app's name
    name: String,
    /// The version, or a prefix of it; `runyard apps versions` lists them
    #[arg(long)]
    version: String,
    /// For scripts: the result in one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    stack: StackArgs,
}

#[derive(Args, Debug)]
pub(crate) struct VersionsArgs {
    /// The app's name
    name: String,
    /// For scripts: one line of JSON per version
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    stack: StackArgs,
}

pub(super) async fn deploy(args: &DeployArgs) -> Result<Exit> {
    runyard_boot::logs::for_people();
    let app = match plug::read_app(&args.apps, &args.which).await? {
        Ok(app) => app,
        Err(problems) => {
            for problem in problems {
                output::note(&format!("error: {problem}"));
            }
            return Ok(Exit::Failed);
        }
    };
    let aws = args.stack.open().await?;
    let deployed = aws.deployments().deploy(&app).await.map_err(deploy_error)?;
    show(&deployed, &args.stack, args.json)?;
    let plain: Vec<_> = app.env.iter().filter(|name| !app.secrets.contains_key(*name)).cloned().collect();
    if !plain.is_empty() {
        output::note(&format!(
            "{} must be set in the functions' environment, or app.yaml must name a secret: \
             `env: [{}: secretsmanager:NAME]`",
            plain.join(", "),
            plain[0]
        ));
    }
    Ok(Exit::Done)
}

pub(super) async fn roll_back(args: &RollbackArgs) -> Result<Exit> {
    runyard_boot::logs::for_people();
    let aws = args.stack.open().await?;
    let deployed = aws.deployments().roll_back(&args.name, &args.version).await.map_err(deploy_error)?;
    show(&deployed, &args.stack, args.json)?;
    Ok(Exit::Done)
}

pub(super) async fn versions(args: &VersionsArgs) -> Result<Exit> {
    runyard_boot::logs::for_people();
    let aws = args.stack.open().await?;
    let mut rows = Vec::new();
    for version in aws.deployments().versions(&args.name).await.map_err(deploy_error)? {
        let deployed_at = version.deployed_at.to_string();
        if args.json {
            let line = json!({
                "version": version.version, "current": version.is_current, "deployed_at": deployed_at,
            });
            output::json(&line, true)?;
        } else {
            let current = if version.is_current { "current" } else { "" };
            rows.push(vec![version.version, deployed_at, current.to_owned()]);
        }
    }
    if !args.json {
        output::table(&["VERSION", "DEPLOYED", ""], &rows)?;
    }
    Ok(Exit::Done)
}

/// Lists the deployed apps.
pub(super) async fn list(stack: &StackArgs, json: bool) -> Result<Exit> {
    runyard_boot::logs::for_people();
    let aws = stack.open().await?;
    let mut rows = Vec::new();
    for app in aws.deployments().list().await.map_err(deploy_error)? {
        let activated_at = app.activated_at.to_string();
        if json {
            let line = json!({
                "id": app.app, "name": app.name, "version": app.version, "hosts": app.hosts, "activated_at": activated_at,
            });
            output::json(&line, true)?;
        } else {
            rows.push(vec![app.name, app.app.to_string(), app.version, activated_at, app.hosts.join(", ")]);
        }
    }
    if !json {
        output::table(&["APP", "ID", "VERSION", "SINCE", "HOSTS"], &rows)?;
    }
    Ok(Exit::Done)
}

fn show(deployed: &Deployed, stack: &StackArgs, json: bool) -> Result<()> {
    let Deployed { app, name, version, before, changed } = deployed;
    if json {
        let line =
            json!({ "id": app, "name": name, "version": version, "before": before, "changed": changed });
        return output::json(&line, true);
    }
    let place = stack.shown();
    if !changed {
        return output::line(&format!("{name} {version} is already current on {place}"));
    }
    let before = before.as_ref().map_or_else(String::new, |before| format!(" (was {before})"));
    output::line(&format!("{name} {version} is current on {place}{before}"))?;
    anstream::eprintln!("new runs use it within 30 s; running runs stay on their version");
    Ok(())
}
