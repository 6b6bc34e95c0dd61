//! A test double of Lambda's runtime API, and a function started on it.

#![allow(dead_code, clippy::allow_attributes, reason = "each test uses only a part")]

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use runyard_runs::{Clock, SystemClock};
use serde_json::Value;
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// A running function, and the runtime API that it polls.
pub(crate) struct Function {
    pub(crate) process: Child,
    state: Arc<Shared>,
    pub(crate) first_poll: Option<oneshot::Receiver<()>>,
}

struct Shared {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    send: mpsc::UnboundedSender<Invocation>,
    waiting: Mutex<HashMap<String, mpsc::UnboundedSender<Piece>>>,
    polled: Mutex<Option<oneshot::Sender<()>>>,
    invocations: AtomicU64,
}

struct Invocation {
    id: String,
    event: Value,
    deadline: i64,
    answer: mpsc::UnboundedSender<Piece>,
}

enum Piece {
    Head { streaming: bool },
    Data(Bytes),
    End,
    Error(Bytes),
}

/// The response of a function, in pieces.
pub(crate) struct Answering {
    pieces: mpsc::UnboundedReceiver<Piece>,
}

/// A complete HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    pub(crate) streamed: bool,
    /// The pieces of the body, with the time of arrival since the invocation.
    pub(crate) pieces: Vec<(Duration, String)>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

impl Function {
    /// Starts `binary` with these variables on a separate runtime API.
    pub(crate) async fn start(binary: &str, variables: &[(&str, String)]) -> Self {
        let (send, events) = mpsc::unbounded_channel();
        let (polled, first_poll) = oneshot::channel();
        let state = Arc::new(Shared {
            events: events.into(),
            send,
            waiting: Mutex::default(),
            polled: Mutex::new(Some(polled)),
            invocations: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2020-01-01/extension/register", post(register))
            .route("/2020-01-01/extension/event/next", get(futures::future::pending::<()>))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let process = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            // Hides its log lines; remove to see them.
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, state, first_poll: Some(first_poll) }
    }

    /// Starts an invocation that must end within `time`.
    pub(crate) fn begin(&self, event: Value, time: Duration) -> Answering {
        let (answer, pieces) = mpsc::unbounded_channel();
        let deadline = (SystemClock.now() + time).0;
        let id = format!("invocation-{}", self.state.invocations.fetch_add(1, Ordering::Relaxed));
        self.state.send.send(Invocation { id, event, deadline, answer }).ok().unwrap();
        Answering { pieces }
    }

    /// Invokes the function with an HTTP event, and returns the response.
    pub(crate) async fn http(&self, event: Value) -> Answer {
        self.begin(event, Duration::from_mins(15)).http().await
    }

    /// Invokes the function with any other event; `Err` holds the error that the function reported.
    pub(crate) async fn invoke(&self, event: Value) -> Result<Value, Value> {
        self.begin(event, Duration::from_mins(15)).json().await
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Answering {
    async fn next(&mut self) -> Piece {
        let piece = tokio::time::timeout(Duration::from_mins(1), self.pieces.recv()).await;
        piece.expect("an answer in time").expect("the runtime API is running")
    }

    /// Waits until the body contains `text`.
    pub(crate) async fn until(&mut self, text: &str) {
        let mut all = String::new();
        while !all.contains(text) {
            if let Piece::Data(data) = self.next().await {
                all.push_str(&String::from_utf8_lossy(&data));
            }
        }
    }

    pub(crate) async fn json(mut self) -> Result<Value, Value> {
        let mut body = BytesMut::new();
        loop {
            match self.next().await {
                Piece::Head { .. } => {}
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End => return Ok(serde_json::from_slice(&body).unwrap()),
                Piece::Error(body) => return Err(serde_json::from_slice(&body).unwrap()),
            }
        }
    }

    pub(crate) async fn http(mut self) -> Answer {
        let began = Instant::now();
        let (mut streamed, mut all, mut pieces) = (false, BytesMut::new(), Vec::new());
        loop {
            match self.next().await {
                Piece::Head { streaming } => streamed = streaming,
                Piece::Data(data) => {
                    pieces.push((began.elapsed(), String::from_utf8_lossy(&data).into_owned()));
                    all.extend_from_slice(&data);
                }
                Piece::End => break,
                Piece::Error(error) => panic!("the function failed: {}", String::from_utf8_lossy(&error)),
            }
        }
        if streamed { of_stream(&all, pieces) } else { of_whole(&all) }
    }
}

/// Parses a streamed response: the head as JSON, eight zero bytes, the body.
fn of_stream(all: &[u8], pieces: Vec<(Duration, String)>) -> Answer {
    let end = all.windows(8).position(|bytes| bytes == [0; 8]).expect("a head");
    let head: Value = serde_json::from_slice(&all[..end]).unwrap();
    Answer {
        status: head["statusCode"].as_u64().unwrap().try_into().unwrap(),
        headers: headers(&head["headers"]),
        body: String::from_utf8(all[end + 8..].to_vec()).unwrap(),
        streamed: true,
        pieces,
    }
}

fn of_whole(all: &[u8]) -> Answer {
    let answer: Value = serde_json::from_slice(all).unwrap();
    assert_eq!(answer["isBase64Encoded"], false, "{answer}");
    let mut headers = headers(&answer["headers"]);
    for (name, values) in answer["multiValueHeaders"].as_object().into_iter().flatten() {
        headers.insert(name.clone(), values[0].as_str().unwrap().to_owned());
    }
    Answer {
        status: answer["statusCode"].as_u64().unwrap().try_into().unwrap(),
        headers,
        body: answer["body"].as_str().unwrap_or_default().to_owned(),
        streamed: false,
        pieces: Vec::new(),
    }
}

fn headers(headers: &Value) -> HashMap<String, String> {
    let headers = headers.as_object().into_iter().flatten();
    headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

async fn next(State(state): State<Arc<Shared>>) -> Response {
    if let Some(polled) = state.polled.lock().unwrap().take() {
        let _ = polled.send(());
    }
    let Some(invocation) = state.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    state.waiting.lock().unwrap().insert(invocation.id.clone(), invocation.answer);
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.id),
        ("lambda-runtime-deadline-ms", invocation.deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:test".to_owned(),
        ),
        ("lambda-runtime-trace-id", "Root=1-5e1b4151-5ac6c58f7c6a8f9e4b1c2d3e;Sampled=0".to_owned()),
    ];
    (headers, invocation.event.to_string()).into_response()
}

async fn response(
    State(state): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let answer = state.waiting.lock().unwrap().get(&id).cloned().expect("an invocation");
    let mode = headers.get("lambda-runtime-function-response-mode");
    let _ = answer.send(Piece::Head { streaming: mode.is_some_and(|mode| mode == "streaming") });
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        // The response is incomplete: the test's wait for the next piece then fails.
        let Ok(piece) = piece else { return StatusCode::BAD_REQUEST };
        let _ = answer.send(Piece::Data(piece));
    }
    let _ = answer.send(Piece::End);
    StatusCode::ACCEPTED
}

async fn error(State(state): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let answer = state.waiting.lock().unwrap().get(&id).cloned().expect("an invocation");
    let _ = answer.send(Piece::Error(body));
    StatusCode::ACCEPTED
}

async fn register() -> Response {
    let about = serde_json::json!({ "functionName": "test", "functionVersion": "1", "handler": "bootstrap" });
    ([("lambda-extension-identifier", "e")], axum::Json(about)).into_response()
}

/// The root folder of the repository.
pub(crate) fn root() -> PathBuf {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// The events of a folder in `events/`, sorted by name.
pub(crate) fn events(folder: &str) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    for file in std::fs::read_dir(root().join("events").join(folder)).unwrap() {
        let path = file.unwrap().path();
        let event = serde_json::from_slice(&std::fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        events.push((path.file_stem().unwrap().to_string_lossy().into_owned(), event));
    }
    events.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(!events.is_empty(), "no events in {folder}");
    events
}

/// One event.
pub(crate) fn event(folder: &str, name: &str) -> Value {
    let found = events(folder).into_iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("no event {folder}/{name}")).1
}

/// Returns the event with the id of a run instead of the placeholder.
pub(crate) fn of_run(event: &Value, run: &str) -> Value {
    serde_json::from_str(&event.to_string().replace(PLACEHOLDER, run)).unwrap()
}

/// The placeholder for a run's id in the events.
pub(crate) const PLACEHOLDER: &str = "01940000-0000-7000-8000-000000000000";

/// The variables of the embedded backend on `data`.
pub(crate) fn embedded(data: &FilePath) -> Vec<(&'static str, String)> {
    let mut variables: Vec<(&str, String)> = Vec::new();
    for line in include_str!("../../events/local.env").lines() {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        variables.push((name, value.to_owned()));
    }
    variables.push(("RUNYARD_APPS", root().join("apps").display().to_string()));
    variables.push(("RUNYARD_DATA", data.display().to_string()));
    variables
}
