//! `runyard run`: create a run, and show it.

use super::{
    args::{Target, json_object, key_value},
    output,
};
use crate::{
    client::{Call, Client, Form, Payload, follow, is_terminal},
    exit::Exit,
    place,
    progress::Progress,
};
use anyhow::{Context, Result};
use clap::Args;
use futures::TryStreamExt;
use runyard_runs::{Ids, SystemIds};
use serde_json::{Map, Value, json};
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    pin::pin,
};

const ABOUT: &str = "Create a run of an app, and show it.

Progress goes to stderr (as it happens, if that is a terminal), the run as it ended to stdout as JSON.
The exit code is 0 if it completed, 1 if it failed or was canceled, 5 if it waits for a person.

Without --url the run is created on --data and executed in this process. It is as durable as on a server: if this
process ends, a server on the same data resumes the run. With --background it is left to such a server.

With --url http://localhost:PORT (or 127.0.0.1), the app is chosen by the host APP.localhost. With any other URL, the
URL's own host chooses the app, and APP is not sent.";

const EXAMPLES: &str = "Examples:
  runyard run ticket-triage --input @apps/ticket-triage/sample-input.json
  runyard run echo --input '{\"message\": \"hi\"}' --json | jq .output
  runyard run echo --input @- --background --url http://localhost:8787 --key \"$(cat .runyard/dev-key)\"";

#[derive(Args, Debug)]
#[command(about = "Create a run of an app, and show it", long_about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// The app's name
    app: String,
    /// The input: a JSON object, @FILE, or @- for stdin
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    input: String,
    /// A file that the run may read; repeat it for more
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Return as soon as the run is accepted; print it as created
    #[arg(long, conflicts_with = "stream")]
    background: bool,
    /// Show progress also if stderr is not a terminal; with --json print each event as a line on stdout instead
    #[arg(long)]
    stream: bool,
    /// Your identifier of the user that the run is for
    #[arg(long)]
    user_id: Option<String>,
    /// The conversation that the run belongs to, a UUID
    #[arg(long, value_name = "UUID")]
    session_id: Option<uuid::Uuid>,
    /// Metadata of the run; repeat it for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    metadata: Vec<(String, String)>,
    /// For scripts: the run in one line, no progress
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: RunArgs) -> Result<Exit> {
    let mut fields = Map::new();
    fields.insert("input".to_owned(), json_object(&args.input, "--input")?.into());
    if let Some(user_id) = &args.user_id {
        fields.insert("user_id".to_owned(), user_id.as_str().into());
    }
    if let Some(session_id) = &args.session_id {
        fields.insert("session_id".to_owned(), session_id.to_string().into());
    }
    if !args.metadata.is_empty() {
        let metadata: Map<_, _> =
            args.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        fields.insert("metadata".to_owned(), metadata.into());
    }
    // Progress that is shown as it happens needs a stream.
    let stream = !args.background && (args.stream || (!args.json && io::stderr().is_terminal()));
    if stream {
        fields.insert("stream".to_owned(), true.into());
    }
    if args.background {
        fields.insert("background".to_owned(), true.into());
    }
    let call = create_call(fields, &args.files);
    let place = place::open(&args.target, Some(&args.app)).await?;
    let exit = tokio::select! {
        exit = create(&place.client, &call, &args, stream) => exit,
        signal = tokio::signal::ctrl_c() => signal.map(|()| Exit::Interrupted).map_err(Into::into),
    };
    if matches!(exit, Ok(Exit::Interrupted)) {
        anstream::eprintln!(
            "\ninterrupted: the run goes on when a server executes it (`runyard runs list` shows it)"
        );
    }
    if args.background && args.target.url.is_none() {
        anstream::eprintln!("accepted: a `runyard dev` or `serve` on the same data executes it");
    }
    place.close().await;
    exit
}

fn create_call(fields: Map<String, Value>, files: &[PathBuf]) -> Call {
    let ids = SystemIds;
    let body = if files.is_empty() {
        Payload::Json(fields.into())
    } else {
        let mut form = Form::new(ids.random(), "files", files.to_vec());
        for (name, value) in &fields {
            form.field(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        Payload::Form(form)
    };
    // A retry after a lost response must not create a second run.
    Call::post("/v1/runs", body).header("idempotency-key", ids.random().to_string())
}

async fn create(client: &Client, call: &Call, args: &RunArgs, stream: bool) -> Result<Exit> {
    if stream {
        return streamed(client, call, args.json).await;
    }
    let run = client.send_once(call).await?.json().await?["data"].take();
    let id = run_id(&run)?;
    if args.background {
        output::json(&run, args.json)?;
        return Ok(Exit::Done);
    }
    if is_settled(&run) {
        return finish(&run, args.json, true);
    }
    // The platform's time limit ended the response before the run ended.
    watch(client, &id, 0, None, Show::Nothing).await?;
    show_end(client, &id, args.json).await
}

async fn streamed(client: &Client, call: &Call, json: bool) -> Result<Exit> {
    let response = client.send_once(call).await?;
    let show = if json { Show::Json } else { Show::Progress };
    let (id, last) = watch(client, "", 0, Some(response), show).await?;
    if json { end_of_events(client, &id, &last).await } else { show_end(client, &id, false).await }
}

/// How to show events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Progress,
    Json,
    Nothing,
}

/// Shows a run's events until it has ended or waits only for people. Returns its id and the last event.
pub(super) async fn watch(
    client: &Client,
    run: &str,
    after: u64,
    open: Option<crate::client::Response>,
    show: Show,
) -> Result<(String, Value)> {
    let mut progress = Progress::stderr();
    let mut id = run.to_owned();
    let mut last = Value::Null;
    let mut events = pin!(follow(client.clone(), id.clone(), after, open));
    while let Some(event) = events.try_next().await? {
        if id.is_empty() {
            id = run_id(&event["data"])?;
        }
        match show {
            Show::Progress => progress.show(&event),
            Show::Json => output::json(&event, true)?,
            Show::Nothing => {}
        }
        let paused = event["type"] == "run.paused";
        last = event;
        if is_terminal(&last) || paused && is_settled(&fetch(client, &id).await?) {
            break;
        }
    }
    progress.finish();
    Ok((id, last))
}

/// The exit code of a run whose events were shown.
pub(super) async fn end_of_events(client: &Client, id: &str, last: &Value) -> Result<Exit> {
    match last["type"].as_str() {
        Some("run.completed") => Ok(Exit::Done),
        Some("run.failed" | "run.canceled") => Ok(Exit::Failed),
        _ => Ok(exit_of(&fetch(client, id).await?)),
    }
}

/// Prints the run in its current state, and returns its exit code.
async fn show_end(client: &Client, id: &str, json: bool) -> Result<Exit> {
    finish(&fetch(client, id).await?, json, false)
}

fn finish(run: &Value, json: bool, show_error: bool) -> Result<Exit> {
    output::json(run, json)?;
    let exit = exit_of(run);
    match exit {
        Exit::AwaitingInput => hint(run),
        Exit::Failed if show_error && !json => {
            let why = run["error"]["message"].as_str().unwrap_or_default();
            output::note(&format!("the run {}: {why}", run["status"].as_str().unwrap_or("failed")));
        }
        _ => {}
    }
    Ok(exit)
}

fn hint(run: &Value) {
    let id = run["id"].as_str().unwrap_or_default();
    for request in run["input_requests"].as_array().into_iter().flatten() {
        let request_id = request["id"].as_str().unwrap_or_default();
        let answer =
            if request["type"] == "human_feedback" { "--feedback TEXT" } else { "--approve (or --deny)" };
        output::note(&format!("waiting for a person: {}", request["prompt"].as_str().unwrap_or_default()));
        output::note(&format!("  runyard runs input {id} --request {request_id} {answer}"));
    }
}

pub(super) fn exit_of(run: &Value) -> Exit {
    match run["status"].as_str() {
        Some("failed" | "canceled") => Exit::Failed,
        Some("awaiting_input") => Exit::AwaitingInput,
        _ => Exit::Done,
    }
}

pub(super) async fn fetch(client: &Client, id: &str) -> Result<Value> {
    Ok(client.json(&Call::get(format!("/v1/runs/{id}"))).await?["data"].take())
}

fn is_settled(run: &Value) -> bool {
    matches!(run["status"].as_str(), Some("completed" | "failed" | "canceled" | "awaiting_input"))
}

fn run_id(run: &Value) -> Result<String> {
    run["id"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("the server's response has no run id: {}", json!({ "data": run })))
}
