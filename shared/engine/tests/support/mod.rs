//! Shared by the tests: apps from workflow text, runs without a log, Python in the system's interpreter.

#![allow(clippy::allow_attributes, dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod provider;
pub(crate) mod scripted;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use runyard_engine::{
    Engine, EngineConfig, JobError, JobRunner, JobTurn, PythonError, PythonRunner, perform,
};
use runyard_runs::{
    App, AppId, Clock, EventBody, File, FileId, FileStore, Logged, NewFile, NewRun, Outcome, RunContext,
    RunId, StoreError, SystemClock, Timestamp, Upload, WorkflowSource,
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command};
use uuid::Uuid;

/// Performs jobs in this process: with the same results, but without the limits of a separate process.
pub(crate) struct JobsHere;

#[async_trait]
impl JobRunner for JobsHere {
    async fn turn(&self, _: AppId) -> Result<Box<dyn JobTurn>, JobError> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl JobTurn for JobsHere {
    async fn run(self: Box<Self>, job: &str, input: Vec<u8>) -> Result<Vec<u8>, JobError> {
        let job = job.to_owned();
        let done = tokio::task::spawn_blocking(move || perform(&job, input));
        done.await.map_err(|error| JobError::Crashed(error.to_string()))
    }
}

/// A file under the repository's `tests`.
pub(crate) fn shared(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(path)
}

/// The reference's output.
pub(crate) fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(shared(&format!("dynamiq/golden/{name}.json"))).expect("golden");
    serde_json::from_str(&text).expect("JSON")
}

/// An app that runs `text`.
pub(crate) fn app(text: &str) -> App {
    let uuid = "5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009";
    let mut app: App = serde_json::from_value(json!({
        "id": uuid, "project": uuid, "organization": uuid, "name": "test", "version": "1",
        "workflow": {"file": "workflow.yaml", "text": ""},
    }))
    .expect("an app");
    app.workflow = WorkflowSource { file: "workflow.yaml".into(), id: None, text: text.into() };
    app
}

/// A run of an app, without a log.
pub(crate) fn run_of(
    id: u128,
    input: Map<String, Value>,
    journal: &[Logged],
    files: &[(File, Bytes)],
    clock: Arc<dyn Clock>,
    by: &dyn Fn(&mut NewRun),
    sink: impl Fn(Logged) + Send + Sync + 'static,
) -> RunContext {
    let mut new = NewRun {
        id: RunId(Uuid::from_u128(id)),
        app: AppId(Uuid::from_u128(2)),
        app_version: "1".into(),
        created_at: Timestamp(i64::try_from(id).expect("a small number")),
        expires_at: Timestamp(i64::MAX),
        input: input.into(),
        user_id: None,
        session_id: None,
        metadata: std::collections::BTreeMap::default(),
        files: files.iter().map(|(file, _)| file.clone()).collect(),
        retry_of: None,
        origin: runyard_runs::Origin::Key,
    };
    by(&mut new);
    RunContext::detached(new, Arc::new(Files(files.to_vec())), clock, journal, sink)
}

/// A workflow, and how to run it.
pub(crate) struct Case {
    pub(crate) text: String,
    input: Map<String, Value>,
    env: HashMap<String, String>,
    files: Vec<(File, Bytes)>,
    journal: Vec<Logged>,
    events: Arc<Mutex<Vec<Logged>>>,
    python: Arc<dyn PythonRunner>,
    clock: Arc<dyn Clock>,
    id: u128,
    by: Arc<dyn Fn(&mut NewRun) + Send + Sync>,
}

impl Case {
    /// A case of the reference.
    pub(crate) fn new(name: &str) -> Self {
        let text = std::fs::read_to_string(shared(&format!("dynamiq/cases/{name}.yaml"))).expect("case");
        Self::text(&text).env("STUB_URL", "http://127.0.0.1:9/v1")
    }

    pub(crate) fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            input: Map::new(),
            env: HashMap::new(),
            files: Vec::new(),
            journal: Vec::new(),
            events: Arc::default(),
            python: Arc::new(SystemPython),
            clock: Arc::new(SystemClock),
            id: 1,
            by: Arc::new(|_| {}),
        }
    }

    pub(crate) fn input(mut self, input: Value) -> Self {
        self.input = match input {
            Value::Object(map) => map,
            _ => panic!("the input is a mapping"),
        };
        self
    }

    /// Adds a file of the run.
    pub(crate) fn file(mut self, name: &str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let file = File {
            id: FileId(Uuid::from_u128(100 + self.files.len() as u128)),
            name: name.to_owned(),
            size: content.len() as u64,
            mime_type: "application/octet-stream".to_owned(),
        };
        self.files.push((file, content));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn python(mut self, python: Arc<dyn PythonRunner>) -> Self {
        self.python = python;
        self
    }

    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the run's id.
    pub(crate) fn id(mut self, id: u128) -> Self {
        self.id = id;
        self
    }

    /// Sets the run's user, session or origin.
    pub(crate) fn by(mut self, by: impl Fn(&mut NewRun) + Send + Sync + 'static) -> Self {
        self.by = Arc::new(by);
        self
    }

    /// Resumes from the journal of an earlier execution.
    pub(crate) fn journal(mut self, journal: Vec<Logged>) -> Self {
        self.journal = journal;
        self
    }

    pub(crate) fn engine(&self) -> Engine {
        let env = self.env.clone();
        Engine::new(EngineConfig {
            python: Arc::clone(&self.python),
            jobs: Arc::new(JobsHere),
            env: Arc::new(move |_, name| Ok(env.get(name).cloned())),
            allow_loopback: true,
            any_env: true,
        })
    }

    pub(crate) fn context(&self) -> RunContext {
        let events = Arc::clone(&self.events);
        let sink = move |logged| events.lock().expect("events").push(logged);
        let clock = Arc::clone(&self.clock);
        run_of(self.id, self.input.clone(), &self.journal, &self.files, clock, &*self.by, sink)
    }

    /// The results in the reference's shape.
    pub(crate) async fn run(&self) -> Value {
        let results = self.engine().results(&app(&self.text), &self.context()).await;
        results.expect("the file loads").to_json()
    }

    /// The run's outcome, by a worker that leaves a run which rests for more than a minute.
    pub(crate) async fn outcome(&self) -> Outcome {
        let app = app(&self.text);
        runyard_runs::Engine::execute(
            &self.engine(),
            &app,
            self.context().resting(std::time::Duration::from_mins(1)),
        )
        .await
    }

    /// Like [`Case::run`], with people's answers by node, in the reference's form: resumes from the journal after each
    /// answer.
    pub(crate) async fn run_with(&mut self, people: &Value) -> Value {
        loop {
            let results = self.run().await;
            let answers: Vec<Logged> =
                self.events().iter().filter_map(|asked| answer(asked, people)).collect();
            self.journal.extend(self.events.lock().expect("events").drain(..));
            if answers.is_empty() {
                return results;
            }
            self.journal.extend(answers);
        }
    }

    /// The questions that [`Case::run_with`] answered.
    pub(crate) fn questions(&self) -> Vec<&str> {
        self.journal.iter().filter_map(|asked| Some(asked.body.request()?.prompt.as_str())).collect()
    }

    /// What was recorded and emitted until [`Case::run_with`] returned.
    pub(crate) fn recorded(&self) -> &[Logged] {
        &self.journal
    }

    /// Resumes after all questions have expired.
    pub(crate) fn expired(mut self) -> Self {
        let asked: Vec<Logged> = self.events.lock().expect("events").drain(..).collect();
        let expired = asked.iter().filter_map(|asked| asked.body.request()).map(|request| Logged {
            body: EventBody::InputExpired { request_id: request.id },
            key: Some(format!("answer:{}", request.id)),
            journal: Some(Value::Null),
        });
        self.journal.extend(expired.collect::<Vec<_>>());
        self.journal.extend(asked);
        self
    }

    /// What was recorded and emitted.
    pub(crate) fn events(&self) -> Vec<Logged> {
        self.events.lock().expect("events").clone()
    }
}

/// The logged answer to a node's question.
pub(crate) fn answer(asked: &Logged, people: &Value) -> Option<Logged> {
    let request = asked.body.request()?;
    let node = asked.key.as_deref()?.strip_prefix("node:")?.rsplit_once(':')?.0;
    let given = people.get(node)?;
    let mut answer = Map::new();
    for (theirs, ours) in [
        ("is_approved", "approved"),
        ("feedback", "feedback"),
        ("data", "params"),
        ("content", "feedback"),
        ("answers", "answers"),
    ] {
        if let Some(value) = given.get(theirs) {
            answer.insert(ours.to_owned(), value.clone());
        }
    }
    for answer in answer.get_mut("answers").and_then(Value::as_array_mut).into_iter().flatten() {
        let map = answer.as_object_mut().expect("an answer is a mapping");
        map.entry("selected").or_insert_with(|| json!([]));
        map.entry("custom_text").or_insert(Value::Null);
    }
    Some(Logged {
        body: EventBody::InputReceived {
            request_id: request.id,
            kind: request.kind,
            approved: None,
            changes: Map::new(),
            by: runyard_runs::Actor::default(),
        },
        key: Some(format!("answer:{}", request.id)),
        journal: Some(answer.into()),
    })
}

/// The files of a run.
struct Files(Vec<(File, Bytes)>);

#[async_trait]
impl FileStore for Files {
    async fn create(&self, _: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        unreachable!("no test stores files")
    }

    async fn get(&self, _: AppId, _: FileId) -> Result<Option<File>, StoreError> {
        unreachable!("nodes know the run's files already")
    }

    async fn open(
        &self,
        _: AppId,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        let found = self.0.iter().find(|(file, _)| file.id == id).map(|(_, content)| content.clone());
        Ok(found.map(|content| futures::stream::iter([Ok(content)]).boxed()))
    }

    async fn delete(&self, _: AppId, _: FileId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete_expired(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// The system's `python3`, without a sandbox; for the tests' own code only.
pub(crate) struct SystemPython;

const DRIVER: &str = "
import json, sys
given = json.load(sys.stdin)
try:
    scope = {}
    exec(given['code'], scope)
    run = scope['run']
    result = run(**given['input']) if given['keywords'] else run(given['input'])
    print(json.dumps({'result': result}))
except Exception as error:
    print(json.dumps({'error': str(error)}))
";

#[async_trait]
impl PythonRunner for SystemPython {
    async fn run(
        &self,
        _: AppId,
        code: &str,
        input: &Map<String, Value>,
        as_keywords: bool,
        _: Option<Duration>,
    ) -> Result<Value, PythonError> {
        let broken = |error: std::io::Error| PythonError::Broken(error.to_string());
        let mut child = Command::new("python3")
            .args(["-I", "-c", DRIVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(broken)?;
        let given = json!({"code": code, "input": input, "keywords": as_keywords}).to_string();
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(given.as_bytes()).await.map_err(broken)?;
        drop(stdin);
        let output = child.wait_with_output().await.map_err(broken)?;
        let answer: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| PythonError::Broken(error.to_string()))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(PythonError::Raised(error.to_owned())),
            None => Ok(answer["result"].clone()),
        }
    }
}

/// Counts its calls. Runs the code in the system's `python3`, or returns the input.
#[derive(Default)]
pub(crate) struct Counted {
    echoes: bool,
    total: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    wanted: usize,
}

impl Counted {
    /// Runs no code: each call returns its input.
    pub(crate) fn echo() -> Arc<Self> {
        Arc::new(Self { echoes: true, ..Self::default() })
    }

    /// No call ends before `wanted` calls are concurrent.
    pub(crate) fn waiting_for(wanted: usize) -> Arc<Self> {
        Arc::new(Self { wanted, ..Self::default() })
    }

    /// The number of calls.
    pub(crate) fn count(&self) -> usize {
        self.total.load(Ordering::SeqCst)
    }

    /// The largest number of concurrent calls.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl PythonRunner for Counted {
    async fn run(
        &self,
        app: AppId,
        code: &str,
        input: &Map<String, Value>,
        as_keywords: bool,
        timeout: Option<Duration>,
    ) -> Result<Value, PythonError> {
        self.total.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        while self.most() < self.wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let result = if self.echoes {
            Ok(json!({"content": input}))
        } else {
            SystemPython.run(app, code, input, as_keywords, timeout).await
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// Sorts the keys of a value, and unifies numbers that are equal in Python.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<&String, Value> =
                map.iter().map(|(key, value)| (key, sorted(value))).collect();
            json!(sorted)
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        // In Python, 1.0 equals 1.
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

/// The piece of a model's text in an event.
pub(crate) fn delta(logged: Logged) -> Option<String> {
    match logged.body {
        EventBody::LlmDelta { delta, .. } => Some(delta),
        _ => None,
    }
}
