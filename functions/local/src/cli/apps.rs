//! `runyard apps`: the apps of a folder.

#[cfg(feature = "aws")]
use super::deploy;
use super::{
    args::{KeysPlace, Place},
    output,
};
use crate::{
    exit::Exit,
    plug::{self, Checked},
};
use anyhow::Result;
use clap::{Args, Subcommand};
use runyard_boot::printable;
use serde_json::json;

#[cfg(not(feature = "aws"))]
const EXAMPLES: &str = "Examples:
  runyard apps check
  runyard apps check apps/ticket-triage
  runyard apps show echo --json

This `runyard` was built without AWS: `cargo build --release -p runyard --features aws` adds deploy, rollback and versions.";

#[cfg(feature = "aws")]
const EXAMPLES: &str = "Examples:
  runyard apps check
  runyard apps show echo --json
  runyard apps deploy apps/ticket-triage --stack runyard
  runyard apps versions ticket-triage --stack runyard
  runyard apps rollback ticket-triage --version 3f9a1c0b --stack runyard
  runyard apps list --stack runyard";

/// See [`super::Command::Apps`].
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AppsCommand {
    /// List the apps and their hosts
    List(ListArgs),
    /// Report errors in apps, and parts of their files that have no effect; exits 1 on any error
    Check(CheckArgs),
    /// Show one app, as it would be served
    Show(ShowArgs),
    /// Check an app, and make it the current version on a stack in one step; running runs stay on their version
    #[cfg(feature = "aws")]
    Deploy(deploy::DeployArgs),
    /// Make an earlier version of a deployed app current again
    #[cfg(feature = "aws")]
    Rollback(deploy::RollbackArgs),
    /// List the versions of a deployed app, last deployed first
    #[cfg(feature = "aws")]
    Versions(deploy::VersionsArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// For scripts: each app as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: KeysPlace,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// App folders or names; all apps if none is given
    #[arg(value_name = "DIR|NAME")]
    which: Vec<String>,
    /// For scripts: each app as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The app's name
    name: String,
    /// For scripts: in one line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn apps(command: AppsCommand) -> Result<Exit> {
    match command {
        AppsCommand::List(args) => list(&args).await,
        AppsCommand::Check(args) => check(&args).await,
        AppsCommand::Show(args) => show(&args).await,
        #[cfg(feature = "aws")]
        AppsCommand::Deploy(args) => deploy::deploy(&args).await,
        #[cfg(feature = "aws")]
        AppsCommand::Rollback(args) => deploy::roll_back(&args).await,
        #[cfg(feature = "aws")]
        AppsCommand::Versions(args) => deploy::versions(&args).await,
    }
}

async fn list(args: &ListArgs) -> Result<Exit> {
    #[cfg(feature = "aws")]
    if args.place.stack.is_given() {
        return deploy::list(&args.place.stack, args.json).await;
    }
    let found = plug::look_at_apps(&args.place.here).await?;
    let mut rows = Vec::new();
    for app in &found.apps {
        if args.json {
            output::json(&app_json(app), true)?;
            continue;
        }
        let mut hosts = vec![format!("{}.localhost", app.name)];
        hosts.extend(app.hosts.iter().cloned());
        let public = if app.public { "public" } else { "with a key" };
        rows.push(vec![app.name.clone(), app.id.to_string(), public.to_owned(), hosts.join(", ")]);
    }
    if !args.json {
        output::table(&["APP", "ID", "CALLED", "HOSTS"], &rows)?;
    }
    for problem in &found.problems {
        output::note(&format!("error: {problem}"));
    }
    Ok(if found.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

async fn check(args: &CheckArgs) -> Result<Exit> {
    let checked = plug::check_apps(&args.place, &args.which).await?;
    let mut all_valid = true;
    for Checked { name, problems, warnings } in &checked {
        all_valid &= problems.is_empty();
        let problem = problems
            .iter()
            .map(|problem| indented(&problem.to_string()))
            .collect::<Vec<_>>()
            .join("\n       ");
        if args.json {
            let problem = Some(problem).filter(|problem| !problem.is_empty());
            let line = json!({
                "app": name, "ok": problem.is_none(), "problem": problem, "warnings": warnings,
            });
            output::json(&line, true)?;
            continue;
        }
        match problems.as_slice() {
            [] => output::line(&format!("ok     {name}"))?,
            _ => output::line(&format!("error  {name}: {problem}"))?,
        }
        for warning in warnings {
            output::line(&format!("       warning: {}", indented(&warning.to_string())))?;
        }
    }
    if checked.is_empty() && !args.json {
        output::line(&format!("no app in {}", args.place.apps.display()))?;
    }
    Ok(if all_valid { Exit::Done } else { Exit::Failed })
}

/// Indents further lines of a message: it may quote a file, and no line of a file may look like one of this program.
fn indented(message: &str) -> String {
    printable::indented(message, "           ").into_owned()
}

async fn show(args: &ShowArgs) -> Result<Exit> {
    let found = plug::look_at_apps(&args.place).await?;
    let app = found.named(&args.name)?;
    output::json(&app_json(app), args.json)?;
    Ok(Exit::Done)
}

/// All fields of `app.yaml`, with defaults filled in; of the workflow, its file and id without its text.
fn app_json(app: &runyard_runs::App) -> serde_json::Value {
    let mut shown = serde_json::to_value(app).unwrap_or_default();
    if let Some(workflow) = shown["workflow"].as_object_mut() {
        workflow.remove("text");
    }
    shown
}
