//! The command line: one file per command.

mod apps;
mod args;
mod bench;
mod chaos;
#[cfg(feature = "aws")]
mod deploy;
mod exec;
mod files;
mod help;
mod keys;
mod openapi;
pub(crate) mod output;
mod run;
mod runs;
mod serve;
#[cfg(feature = "aws")]
mod stack;

pub(crate) use args::{KeysPlace, Place, Target};
pub(crate) use output::{json_compact as json_line, table as table_of};

use crate::exit::Exit;
use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Runyard serves AI workflows as an HTTP API, from one process: durable runs on SQLite and files.
#[derive(Debug, Parser)]
#[command(name = "runyard", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the apps of a folder, and reload them on change (what `runyard` alone does)
    Dev(serve::DevArgs),
    /// Serve in a container or on a server: JSON logs, graceful shutdown, no key made
    Serve(serve::ServeArgs),
    /// Create a run of an app, and show it
    Run(run::RunArgs),
    /// List, read, follow, answer and cancel runs
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Upload files for later runs
    #[command(subcommand)]
    Files(files::FilesCommand),
    #[cfg_attr(not(feature = "aws"), doc = "List, check and show the apps of a folder")]
    #[cfg_attr(feature = "aws", doc = "List, check and show the apps of a folder; deploy them to AWS")]
    #[command(subcommand)]
    Apps(apps::AppsCommand),
    /// Create, list and revoke access keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Execute a workflow file with the engine alone: no server, nothing stored
    Exec(exec::ExecArgs),
    /// Print the `OpenAPI` 3.1 document, or check that a file is current
    Openapi(openapi::OpenapiArgs),
    /// Measure a server: latency, runs per second, memory
    Bench(bench::BenchArgs),
    /// Kill a server again and again, and check that no run is lost
    Chaos(chaos::ChaosArgs),
}

/// Parses the command line. Exits the process on `--help`, `--version` and invalid usage.
pub(crate) fn parse() -> Cli {
    let matches = help::describe(Cli::command()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Executes the command.
pub(crate) async fn dispatch(cli: Cli) -> Result<Exit> {
    match cli.command.unwrap_or_else(|| Command::Dev(serve::DevArgs::defaults())) {
        Command::Dev(args) => serve::dev(args).await,
        Command::Serve(args) => serve::serve(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Runs(command) => runs::runs(command).await,
        Command::Files(command) => files::files(command).await,
        Command::Apps(command) => apps::apps(command).await,
        Command::Keys(command) => keys::keys(command).await,
        Command::Exec(args) => exec::exec(args).await,
        Command::Openapi(args) => openapi::openapi(&args),
        Command::Bench(args) => bench::bench(args).await,
        Command::Chaos(args) => chaos::chaos(args).await,
    }
}
