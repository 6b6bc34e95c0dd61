//! Which workflow files of a folder run natively, as a Markdown table:
//!
//!     cargo run -p runyard-engine --example census -- FOLDER
//!
//! A file loads if all that keeps it from running are node types, or parts of nodes, that are not native.

#![expect(clippy::print_stdout, reason = "what a table is for")]

use async_trait::async_trait;
use runyard_engine::{
    Engine, EngineConfig, JobError, JobRunner, JobTurn, PythonError, PythonRunner, workflow_ids,
};
use runyard_runs::{App, AppId, WorkflowSource};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What messages say of something that is right and not native.
const NOT_NATIVE: &[&str] =
    &["not native", "(not yet)", "not supported", "do not run here", "does not run here"];

struct NoPython;

#[async_trait]
impl JobRunner for NoPython {
    async fn turn(&self, _: AppId) -> Result<Box<dyn JobTurn>, JobError> {
        unreachable!("no workflow here has jobs")
    }
}

#[async_trait]
impl PythonRunner for NoPython {
    async fn run(
        &self,
        _: AppId,
        _: &str,
        _: &Map<String, Value>,
        _: bool,
        _: Option<Duration>,
    ) -> Result<Value, PythonError> {
        Err(PythonError::Broken("nothing is run here".into()))
    }
}

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("give the folder of the workflow files"));
    };
    let mut files = Vec::new();
    find(&folder, &mut files)?;
    files.sort_unstable();
    let mut rows = Vec::new();
    let (mut load, mut native) = (0, 0);
    for file in files {
        let text = fs::read_to_string(&file)?;
        let ids = workflow_ids(&text);
        if ids.is_empty() {
            continue;
        }
        let name = file.strip_prefix(&folder).unwrap_or(&file).display().to_string();
        let problems = problems(&name, &text, &ids);
        let loads = problems.iter().all(|problem| NOT_NATIVE.iter().any(|words| problem.contains(words)));
        load += usize::from(loads);
        native += usize::from(problems.is_empty());
        let state = match (problems.is_empty(), loads) {
            (true, _) => "native",
            (false, true) => "loads",
            (false, false) => "no",
        };
        rows.push(format!(
            "| {name} | {} | {state} | {} |",
            ids.len(),
            problems.join("; ").replace('|', "\\|")
        ));
    }
    println!("{native} of {} files are native as a whole, {load} load.\n", rows.len());
    println!("| file | workflows | state | why not |\n| --- | --- | --- | --- |");
    for row in rows {
        println!("{row}");
    }
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            files.push(path);
        }
    }
    Ok(())
}

/// What keeps the workflows of a file from running, each thing once; with every variable set to something.
fn problems(name: &str, text: &str, ids: &[String]) -> Vec<String> {
    let engine = Engine::new(EngineConfig {
        python: Arc::new(NoPython),
        jobs: Arc::new(NoPython),
        env: Arc::new(|_, name| {
            let value =
                if name.ends_with("URL") || name.ends_with("URI") { "http://localhost:1" } else { "1" };
            Ok(Some(value.to_owned()))
        }),
        allow_loopback: true,
        any_env: true,
    });
    let mut found = BTreeMap::new();
    for id in ids {
        let mut app: App = serde_json::from_value(json!({
            "id": "5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009", "project": "5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009",
            "organization": "5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009", "name": "census", "version": id,
            "workflow": {"file": name, "text": ""},
        }))
        .expect("an app");
        app.workflow = WorkflowSource { file: name.to_owned(), id: Some(id.clone()), text: text.into() };
        let Err(errors) = engine.check(&app) else { continue };
        for mistake in errors.mistakes {
            found.entry(mistake.message).or_insert(mistake.spot);
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable_by_key(|(_, spot)| *spot);
    found.into_iter().map(|(message, spot)| format!("line {}: {}", spot.line, short(&message))).collect()
}

/// A message about a node type, without what all of them say.
fn short(message: &str) -> String {
    message.replace("nodes of type `dynamiq.nodes.", "`").replace("` do not run here yet", "` (not yet)")
}
