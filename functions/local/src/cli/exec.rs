//! `runyard exec`: the engine alone, on a workflow file.

use super::{args::json_object, output};
use crate::{
    exit::{Exit, usage},
    progress::Progress,
};
use anyhow::{Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use futures::stream::BoxStream;
use runyard_boot::engine::{self, Reach};
use runyard_runs::{
    App, AppId, Clock, Engine, File, FileId, FileStore, Ids, Limits, Logged, NewFile, NewRun, OrganizationId,
    Outcome, ProjectId, RunContext, RunId, StoreError, SystemClock, SystemIds, Timestamp, Upload,
    WorkflowSource,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

const ABOUT: &str = "Execute a workflow file with the engine alone: no server, nothing stored.

The output goes to stdout as JSON. ${oc.env:NAME} resolves any environment variable, and the workflow may reach loopback
addresses: it is your own file in your own shell.

Exit codes: 0 the workflow succeeded, 1 it failed, 2 the file cannot be read or loaded, 5 it asks a person, which exec
cannot do. With --results the exit code is 0 also when the workflow failed: the results say so.";

const EXAMPLES: &str = "Examples:
  runyard exec workflow.yaml --input '{\"question\": \"why?\"}'
  runyard exec workflow.yaml --input @input.json --workflow triage --results";

#[derive(Args, Debug)]
#[command(
    about = "Execute a workflow file with the engine alone: no server, nothing stored",
    long_about = ABOUT,
    after_help = EXAMPLES
)]
pub(crate) struct ExecArgs {
    /// The workflow file
    #[arg(value_name = "WORKFLOW.yaml")]
    file: PathBuf,
    /// The input: a JSON object, @FILE, or @- for stdin
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    input: String,
    /// The workflow of the file; not needed if the file has only one
    #[arg(long, value_name = "ID")]
    workflow: Option<String>,
    /// Print {status, output, error}, with status, input, output and error of every node
    #[arg(long)]
    results: bool,
    /// For scripts: JSON in one line, no progress
    #[arg(long)]
    json: bool,
}

pub(super) async fn exec(args: ExecArgs) -> Result<Exit> {
    let file = args.file.display();
    let text =
        fs::read_to_string(&args.file).map_err(|error| usage(format!("cannot read {file}: {error}")))?;
    let input = json_object(&args.input, "--input")?;
    let engine = engine::start(Reach::Everything, Vec::new());
    let app = app(WorkflowSource { file: file.to_string(), id: args.workflow, text: text.into() });
    engine.check(&app).map_err(|mistakes| usage(mistakes.to_string()))?;

    let live = !args.json && io::stderr().is_terminal();
    let progress = Arc::new(Mutex::new(Progress::stderr()));
    let shown = Arc::clone(&progress);
    let run = RunContext::detached(
        new_run(&app, input),
        Arc::new(NoFiles),
        Arc::new(SystemClock),
        &[],
        move |logged| {
            if live {
                show(&shown, &logged);
            }
        },
    );
    if args.results {
        let results = engine.results(&app, &run).await.map_err(|mistakes| usage(mistakes.to_string()))?;
        finish(&progress);
        output::json(&results.to_json(), args.json)?;
        return Ok(Exit::Done);
    }
    let outcome = engine.execute(&app, run).await;
    finish(&progress);
    match outcome {
        Outcome::Completed(value) => {
            output::json(&value, args.json)?;
            Ok(Exit::Done)
        }
        Outcome::Failed(error) => {
            let node = error.node.as_ref().map_or_else(String::new, |node| format!(" in node {node}"));
            output::note(&format!("the workflow failed{node}: {error}"));
            Ok(Exit::Failed)
        }
        Outcome::Suspended => {
            anstream::eprintln!(
                "the workflow asks a person: run it with `runyard run`, and answer with `runyard runs input`"
            );
            Ok(Exit::AwaitingInput)
        }
        Outcome::Resting(until) => {
            bail!("the workflow rests until {until}, and exec cannot resume it: use `runyard run`")
        }
    }
}

fn show(progress: &Mutex<Progress<anstream::AutoStream<io::Stderr>>>, logged: &Logged) {
    let data = serde_json::to_value(&logged.body).unwrap_or_default();
    let event = json!({ "type": logged.body.name(), "data": data });
    progress.lock().unwrap_or_else(PoisonError::into_inner).show(&event);
}

fn finish(progress: &Mutex<Progress<anstream::AutoStream<io::Stderr>>>) {
    progress.lock().unwrap_or_else(PoisonError::into_inner).finish();
}

/// Wraps a workflow file in an app, which the engine expects.
fn app(workflow: WorkflowSource) -> App {
    let nil = Uuid::nil();
    App {
        id: AppId(nil),
        project: ProjectId(nil),
        organization: OrganizationId(nil),
        name: "exec".to_owned(),
        public: false,
        hosts: Vec::new(),
        version: "exec".to_owned(),
        workflow,
        limits: Limits::default(),
        retention_days: 0,
        env: Vec::new(),
        secrets: BTreeMap::new(),
        allow_hosts: Vec::new(),
        requirements: BTreeMap::new(),
        prices: BTreeMap::new(),
        cache: None,
    }
}

fn new_run(app: &App, input: Map<String, Value>) -> NewRun {
    let now = SystemClock.now();
    NewRun {
        id: RunId(SystemIds.ordered()),
        app: app.id,
        app_version: app.version.clone(),
        created_at: now,
        expires_at: now + app.lifetime(),
        input: input.into(),
        user_id: None,
        session_id: None,
        metadata: BTreeMap::new(),
        files: Vec::new(),
        retry_of: None,
        origin: runyard_runs::Origin::Key,
    }
}

/// A run without a store has no files.
struct NoFiles;

impl NoFiles {
    fn refuse<T>() -> Result<T, StoreError> {
        Err(StoreError::Failed("`runyard exec` keeps no files".into()))
    }
}

#[async_trait]
impl FileStore for NoFiles {
    async fn create(&self, _: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        Self::refuse()
    }

    async fn get(&self, _: AppId, _: FileId) -> Result<Option<File>, StoreError> {
        Ok(None)
    }

    async fn open(
        &self,
        _: AppId,
        _: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        Ok(None)
    }

    async fn delete(&self, _: AppId, _: FileId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete_expired(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}
