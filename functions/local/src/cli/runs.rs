//! `runyard runs`: list, read, follow, answer, cancel and retry runs.

use super::{
    args::{Target, json_object, key_value},
    output,
    run::{Show, end_of_events, fetch, watch},
};
use crate::{
    client::{Call, Client, Payload},
    exit::{Exit, usage},
    place,
};
use anyhow::Result;
use clap::{Args, Subcommand};
use runyard_runs::{Ids, SystemIds};
use serde_json::{Value, json};
use uuid::Uuid;

/// See [`super::Command::Runs`].
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  runyard runs list --status failed --status canceled
  runyard runs tail RUN
  runyard runs retry RUN
  runyard runs input RUN --approve --params '{\"amount\": 500}'")]
pub(crate) enum RunsCommand {
    /// List an app's runs, newest first
    List(ListArgs),
    /// Print one run
    Get(OneArgs),
    /// Cancel a run; does nothing if it has ended
    Cancel(OneArgs),
    /// Retry a failed or canceled run as a new run that keeps what the old one had done; prints the new run
    Retry(OneArgs),
    /// Answer an input request of a run
    Input(InputArgs),
    /// Print a run's events so far
    Events(EventsArgs),
    /// Follow a run to its end; the exit code says how it ended
    Tail(TailArgs),
}

/// Options that select the app of runs.
#[derive(Args, Debug)]
pub(crate) struct Of {
    /// The app; on a server, the default app if not given. On --data a run's app is found automatically
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// For scripts: JSON in one line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct OneArgs {
    /// The run's id
    run: Uuid,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only runs in this status; repeat it for more
    #[arg(long, help_heading = "Filters")]
    status: Vec<String>,
    /// Only runs of this user
    #[arg(long, help_heading = "Filters")]
    user_id: Option<String>,
    /// Only runs of this conversation
    #[arg(long, value_name = "UUID", help_heading = "Filters")]
    session_id: Option<Uuid>,
    /// Only runs with this metadata; repeat it for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Filters")]
    metadata: Vec<(String, String)>,
    /// Sort by `started_at`, `ended_at` or `status`; a leading `-` means descending
    #[arg(long, default_value = "-started_at", allow_hyphen_values = true)]
    sort: String,
    /// The page, from 1
    #[arg(long, conflicts_with = "cursor")]
    page: Option<u64>,
    /// Page size, 1 to 100
    #[arg(long, default_value_t = 25)]
    page_size: u32,
    /// Where the page begins: `next_cursor` of the previous page
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Debug)]
pub(crate) struct InputArgs {
    /// The run's id
    run: Uuid,
    /// The input request to answer; not needed if there is only one
    #[arg(long, value_name = "UUID")]
    request: Option<Uuid>,
    /// The answer to a question, or a comment with an approval
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["approve", "deny"])]
    feedback: Option<String>,
    /// Approve
    #[arg(long, conflicts_with = "deny")]
    approve: bool,
    /// Deny
    #[arg(long)]
    deny: bool,
    /// With --approve: new values of params that may be changed
    #[arg(long, value_name = "JSON|@FILE", requires = "approve")]
    params: Option<String>,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// The run's id
    run: Uuid,
    /// Only events after this sequence
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// The run's id
    run: Uuid,
    /// Only events after this sequence
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    of: Of,
}

pub(super) async fn runs(command: RunsCommand) -> Result<Exit> {
    match command {
        RunsCommand::List(args) => {
            let place = place::open(&args.of.target, args.of.app.as_deref()).await?;
            let listed = list(&place.client, &args).await;
            place.close().await;
            listed
        }
        RunsCommand::Get(args) => {
            on(&args.of, args.run, async |client| {
                output::json(&fetch(client, &args.run.to_string()).await?, args.of.json)?;
                Ok(Exit::Done)
            })
            .await
        }
        RunsCommand::Cancel(args) => {
            on(&args.of, args.run, async |client| {
                let path = format!("/v1/runs/{}/cancel", args.run);
                let answer = client.json(&Call::post(path, Payload::Empty)).await?;
                if args.of.json {
                    output::json(&answer, true)?;
                } else {
                    output::line(message(&answer))?;
                }
                Ok(Exit::Done)
            })
            .await
        }
        RunsCommand::Retry(args) => {
            on(&args.of, args.run, async |client| {
                // A retry after a lost response must not create a second run.
                let call = Call::post(format!("/v1/runs/{}/retry", args.run), Payload::Empty)
                    .header("idempotency-key", SystemIds.random().to_string());
                let answer = client.send_once(&call).await?.json().await?;
                output::json(&answer["data"], args.of.json)?;
                Ok(Exit::Done)
            })
            .await
        }
        RunsCommand::Input(args) => on(&args.of, args.run, async |client| input(client, &args).await).await,
        RunsCommand::Events(args) => on(&args.of, args.run, async |client| events(client, &args).await).await,
        RunsCommand::Tail(args) => {
            on(&args.of, args.run, async |client| {
                let show = if args.of.json { Show::Json } else { Show::Progress };
                let (id, last) = watch(client, &args.run.to_string(), args.after, None, show).await?;
                end_of_events(client, &id, &last).await
            })
            .await
        }
    }
}

/// Calls `work` with a client of the run's app.
async fn on(of: &Of, run: Uuid, work: impl AsyncFnOnce(&Client) -> Result<Exit>) -> Result<Exit> {
    let place = place::open_for_run(&of.target, of.app.as_deref(), run).await?;
    let exit = tokio::select! {
        exit = work(&place.client) => exit,
        signal = tokio::signal::ctrl_c() => signal.map(|()| Exit::Interrupted).map_err(Into::into),
    };
    place.close().await;
    exit
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or("ok")
}

async fn list(client: &Client, args: &ListArgs) -> Result<Exit> {
    let mut query = vec![("sort", args.sort.clone()), ("page_size", args.page_size.to_string())];
    query.extend(args.status.iter().map(|status| ("status", status.clone())));
    query.extend(args.user_id.iter().map(|user| ("user_id", user.clone())));
    query.extend(args.session_id.iter().map(|session| ("session_id", session.to_string())));
    query.extend(args.page.iter().map(|page| ("page", page.to_string())));
    query.extend(args.cursor.iter().map(|cursor| ("cursor", cursor.clone())));
    let mut text: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    text.extend(
        args.metadata.iter().map(|(key, value)| format!("metadata.{}={}", encode(key), encode(value))),
    );
    let answer = client.json(&Call::get(format!("/v1/runs?{}", text.join("&")))).await?;
    if args.of.json {
        output::json(&answer, true)?;
        return Ok(Exit::Done);
    }
    let cell = |run: &Value, field: &str| run[field].as_str().unwrap_or("").to_owned();
    let runs = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let why = run["error"]["message"].as_str().unwrap_or_default().to_owned();
            let mut row: Vec<_> =
                ["id", "status", "started_at", "ended_at", "user_id"].map(|field| cell(run, field)).into();
            row.push(why.chars().take(60).collect());
            row
        })
        .collect();
    output::table(&["RUN", "STATUS", "STARTED", "ENDED", "USER", "ERROR"], &rows)?;
    let pages = &answer["pagination"];
    let capped = if pages["total_count_capped"] == true { " or more" } else { "" };
    output::note(&format!("{} of {}{capped}", rows.len(), pages["total_count"]));
    if let Some(cursor) = pages["next_cursor"].as_str() {
        output::note(&format!("next page: --cursor {cursor}"));
    }
    Ok(Exit::Done)
}

async fn input(client: &Client, args: &InputArgs) -> Result<Exit> {
    let request = if let Some(request) = args.request {
        request.to_string()
    } else {
        let run = fetch(client, &args.run.to_string()).await?;
        let pending = run["input_requests"].as_array().map_or(&[][..], Vec::as_slice);
        match pending {
            [one] => one["id"].as_str().unwrap_or_default().to_owned(),
            [] => return Err(usage("the run has no open input request")),
            several => {
                let ids: Vec<_> = several.iter().filter_map(|request| request["id"].as_str()).collect();
                return Err(usage(format!(
                    "the run has several open input requests: choose one with --request: {}",
                    ids.join(", ")
                )));
            }
        }
    };
    let mut data = json!({ "request_id": request });
    if let Some(feedback) = &args.feedback {
        data["feedback"] = feedback.as_str().into();
    }
    let kind = if args.approve || args.deny {
        data["approved"] = args.approve.into();
        if let Some(params) = &args.params {
            data["params"] = json_object(params, "--params")?.into();
        }
        "approval"
    } else {
        "human_feedback"
    };
    let body = Payload::Json(json!({ "type": kind, "data": data }));
    let answer = client.json(&Call::post(format!("/v1/runs/{}/input", args.run), body)).await?;
    if args.of.json {
        output::json(&answer, true)?;
    } else {
        output::line(message(&answer))?;
    }
    Ok(Exit::Done)
}

async fn events(client: &Client, args: &EventsArgs) -> Result<Exit> {
    const PAGE: u64 = 100;
    let mut rows = Vec::new();
    // Sequences have no gaps, so the page follows from the sequence.
    let mut page = args.after / PAGE + 1;
    loop {
        let path = format!("/v1/runs/{}/events?page={page}&page_size={PAGE}", args.run);
        let answer = client.json(&Call::get(path)).await?;
        let events = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
        for event in events.iter().filter(|event| event["sequence"].as_u64() > Some(args.after)) {
            if args.of.json {
                output::json(event, true)?;
            } else {
                rows.push(row(event));
            }
        }
        if (events.len() as u64) < PAGE {
            break;
        }
        page += 1;
    }
    if !args.of.json {
        output::table(&["#", "TIME", "EVENT", "WHAT"], &rows)?;
    }
    Ok(Exit::Done)
}

fn row(event: &Value) -> Vec<String> {
    let data = &event["data"];
    let what =
        [&data["node"]["name"], &data["tool"]["name"], &data["error"]["message"], &data["request"]["prompt"]];
    let what: Vec<_> = what.iter().filter_map(|value| value.as_str()).collect();
    vec![
        event["sequence"].to_string(),
        event["timestamp"].as_str().unwrap_or_default().to_owned(),
        event["type"].as_str().unwrap_or_default().to_owned(),
        what.join(": ").replace('\n', " ").chars().take(80).collect(),
    ]
}

/// Encodes a value for a query: all but letters, digits and `-._~` as `%XX`.
fn encode(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            use std::fmt::Write;
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
