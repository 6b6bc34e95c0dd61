//! `runyard dev` and `runyard serve`: the server, for development and for production.

use super::args::Place;
use crate::{
    dev_key::{self, DevKey},
    exit::Exit,
    listen, memory,
    plug::Plugged,
    reload,
    server::{Server, Signals},
};
use anyhow::{Context, Result};
use clap::{Args, Parser};
use runyard_boot::{engine::Reach, logs};
use runyard_runs::App;
use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

const DEV: &str = "Serve the apps of a folder, and reload them on change.

API, worker and sweeper run in one process. An app answers on the host NAME.localhost:PORT; any other host reaches the
default app. The first start creates an access key, keeps it in DATA/dev-key (readable by you alone) and shows it once,
with curl commands to paste. Workflows may reach loopback addresses.

Ctrl-C hands running runs over; the next start resumes them. A second Ctrl-C ends at once and loses nothing either.";

const SERVE: &str = "Serve in a container or on a server.

Unlike dev, serve makes no key (`runyard keys create` makes one), writes JSON logs to stdout, refuses to start if an app
has an error, and lets workflows reach loopback and private addresses only if their app.yaml lists them in allow_hosts.

On SIGTERM or SIGINT it accepts no more requests, hands running runs over, lets streams end, and exits 0 within 10 s.";

/// Options of both commands.
#[derive(Args, Debug)]
struct ServerArgs {
    /// Address and port to listen on; port 0 chooses a free port
    #[arg(long, value_name = "ADDRESS:PORT", env = "RUNYARD_LISTEN", default_value = "127.0.0.1:8787")]
    listen: String,
    /// Number of runs from the queue executed at the same time
    #[arg(long, value_name = "N", env = "RUNYARD_WORKERS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// MiB of memory for requests and runs together [default: a quarter of what the process may use]
    #[arg(long, value_name = "MIB", env = "RUNYARD_MEMORY_MIB", value_parser = clap::value_parser!(u32).range(16..))]
    memory_mib: Option<u32>,
    /// Connections per client address; 0 means no limit, for use behind a proxy [default: 1024, at most 3/4 of all]
    #[arg(long, value_name = "N", env = "RUNYARD_CONNECTIONS_PER_PEER")]
    connections_per_peer: Option<usize>,
    /// For scripts: write the address into this file once the server answers
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Parser)]
#[command(about = "Serve the apps of a folder, and reload them on change (what `runyard` alone does)", long_about = DEV)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    server: ServerArgs,
}

impl ServerArgs {
    /// Memory for requests and runs together, in bytes.
    fn memory(&self) -> u64 {
        self.memory_mib.map_or_else(memory::for_runs, |mib| u64::from(mib) << 20)
    }
}

impl DevArgs {
    /// The arguments of `runyard` without a command.
    pub(super) fn defaults() -> Self {
        Self::parse_from(["dev"])
    }
}

#[derive(Args, Debug)]
#[command(about = "Serve in a container or on a server: JSON logs, graceful shutdown, no key made", long_about = SERVE)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn dev(args: DevArgs) -> Result<Exit> {
    logs::for_people();
    let mut signals = Signals::new()?;
    let args = args.server;
    let listener = listen::bind(&args.listen).await?;
    let plugged = Plugged::open(&args.place, Reach::Loopback).await?.with_memory(args.memory());
    let plugged = Arc::new(plugged);
    for problem in plugged.problems() {
        tracing::error!("{problem}");
    }
    let apps = plugged.list_apps().await?;
    let default = plugged.default_app().await?;
    let mut organizations: Vec<_> = default.iter().chain(&apps).map(|app| app.organization).collect();
    let mut seen = std::collections::HashSet::new();
    organizations.retain(|organization| seen.insert(*organization));
    let keys = dev_key::ensure(&plugged, &args.place.data, &organizations).await?;
    let server =
        Server::start(Arc::clone(&plugged), listener, args.workers.into(), args.connections_per_peer).await?;
    announce(args.address_file.as_deref(), server.address)?;
    super::output::line(&welcome(&args.place, server.address, &apps, default.as_deref(), &keys))?;
    let reloading = tokio::spawn(reload::watch(args.place.apps.clone(), server.stopping(), {
        let plugged = Arc::clone(&plugged);
        move || {
            let plugged = Arc::clone(&plugged);
            async move { plugged.reload().await }
        }
    }));
    signals.next().await;
    anstream::eprintln!("\nstopping: the next start resumes running runs (Ctrl-C again ends at once)");
    tokio::select! {
        () = server.shut_down() => {}
        _ = signals.next() => process::exit(Exit::Interrupted as i32),
    }
    let _ = reloading.await;
    Ok(Exit::Done)
}

pub(super) async fn serve(args: ServeArgs) -> Result<Exit> {
    logs::for_machines();
    let mut signals = Signals::new()?;
    let args = args.server;
    let listener = listen::bind(&args.listen).await?;
    let plugged = Plugged::open(&args.place, Reach::Listed).await?.with_memory(args.memory());
    let plugged = Arc::new(plugged);
    plugged.refuse_problems()?;
    let apps = plugged.list_apps().await?;
    let server =
        Server::start(Arc::clone(&plugged), listener, args.workers.into(), args.connections_per_peer).await?;
    announce(args.address_file.as_deref(), server.address)?;
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    tracing::info!(address = %server.address, apps = names.join(","), "listening");
    let reloading = tokio::spawn(reload::watch(args.place.apps.clone(), server.stopping(), {
        let plugged = Arc::clone(&plugged);
        move || {
            let plugged = Arc::clone(&plugged);
            async move { plugged.reload().await }
        }
    }));
    let signal = signals.next().await;
    tracing::info!(signal, "shutting down");
    server.shut_down().await;
    let _ = reloading.await;
    tracing::info!("shut down");
    Ok(Exit::Done)
}

/// Writes the address to the file atomically.
fn announce(file: Option<&Path>, address: SocketAddr) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let new = file.with_extension("new");
    fs::write(&new, format!("{address}\n"))
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// What `dev` prints at its start: address, apps, keys, and commands to paste.
fn welcome(
    place: &Place,
    address: SocketAddr,
    apps: &[Arc<App>],
    default: Option<&App>,
    keys: &[DevKey],
) -> String {
    let mut text = format!("\nRunyard listens on http://{address}\n");
    let Some(default) = default else {
        let _ = write!(
            text,
            "\nThere is no app in {} yet: create {}/NAME/app.yaml and a workflow.yaml beside it. It is served as soon \
             as it is valid.\n",
            place.apps.display(),
            place.apps.display(),
        );
        return text;
    };
    let _ = writeln!(text, "\nApps:");
    for app in apps {
        let mark = if app.id == default.id { "  (default: also on any other host)" } else { "" };
        let _ = writeln!(text, "  {:<20} http://{}.localhost:{}{mark}", app.name, app.name, address.port());
    }
    let _ = writeln!(text);
    for (index, key) in keys.iter().enumerate() {
        let scope =
            if index == 0 { String::new() } else { format!(" for organization {}", key.organization) };
        let path = key.path.display();
        let _ = match &key.new {
            Some(new) => {
                writeln!(text, "Your access key{scope}, shown only once and kept in {path}:\n  {new}")
            }
            None => writeln!(text, "Your access key{scope} is in {path}"),
        };
    }
    if let Some(key) = keys.first() {
        text.push_str(&curl_lines(place, address, default, key));
    }
    text
}

fn curl_lines(place: &Place, address: SocketAddr, app: &App, key: &DevKey) -> String {
    let sample = fs::read_to_string(place.apps.join(&app.name).join("sample-input.json")).ok();
    let input = sample.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let input = input.unwrap_or_else(|| serde_json::json!({}));
    let credential =
        key.new.clone().unwrap_or_else(|| format!("$(cat {})", shell_word(&key.path.to_string_lossy())));
    let curl = |options: &str, path: &str| {
        format!("curl -s{options} http://{address}/v1/runs{path} -H \"Authorization: Bearer {credential}\"")
    };
    let body = |mode: &str| {
        let mut body = serde_json::json!({ "input": input });
        if !mode.is_empty() {
            body[mode] = true.into();
        }
        format!(" -H 'Content-Type: application/json' -d '{}'", body.to_string().replace('\'', "'\\''"))
    };
    format!(
        "\nTry {}. Wait for the answer:\n\n{}{}\n\nIn the background, then get the run:\n\n\
         RUN=$({}{} | grep -o '\"id\":\"[^\"]*' | head -n 1 | cut -d '\"' -f 4)\n{}\n\n\
         As a stream of events:\n\n{}{}\n",
        app.name,
        curl("", ""),
        body(""),
        curl("", ""),
        body("background"),
        curl("", "/$RUN"),
        curl("N", ""),
        body("stream"),
    )
}

/// Quotes text as one word of a shell command.
fn shell_word(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-+".contains(char);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
