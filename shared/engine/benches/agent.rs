//! Measures the engine's own cost of an agent's loop, without the model and the tool: 50 loops with 20 kB of history,
//! each with a request over HTTP to a model that answers immediately. Only the CPU time of the engine's thread is
//! measured, by the kernel.

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use runyard_engine::{Engine, EngineConfig, JobError, JobRunner, JobTurn, PythonError, PythonRunner};
use runyard_runs::{
    App, AppId, Engine as _, File, FileId, FileStore, NewFile, NewRun, Outcome, RunContext, RunId,
    StoreError, SystemClock, Timestamp, Upload,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    hint::black_box,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

const LOOPS: u32 = 50;
const HISTORY: usize = 20_000;

struct Nothing;

#[async_trait]
impl JobRunner for Nothing {
    async fn turn(&self, _: AppId) -> Result<Box<dyn JobTurn>, JobError> {
        unreachable!("no workflow here has jobs")
    }
}

#[async_trait]
impl PythonRunner for Nothing {
    async fn run(
        &self,
        _: AppId,
        _: &str,
        _: &Map<String, Value>,
        _: bool,
        _: Option<Duration>,
    ) -> Result<Value, PythonError> {
        Ok(json!({"content": "nothing"}))
    }
}

#[async_trait]
impl FileStore for Nothing {
    async fn create(&self, _: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        unreachable!("no agent here stores files")
    }

    async fn get(&self, _: AppId, _: FileId) -> Result<Option<File>, StoreError> {
        Ok(None)
    }

    async fn open(
        &self,
        _: AppId,
        _: FileId,
    ) -> Result<Option<futures::stream::BoxStream<'static, Result<bytes::Bytes, StoreError>>>, StoreError>
    {
        Ok(None)
    }

    async fn delete(&self, _: AppId, _: FileId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete_expired(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// Starts a model in other threads that calls the tool `LOOPS - 1` times and then answers; returns its URL.
fn model() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

fn serve(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        // The request contains a result for each call so far.
        let done = body.windows(13).filter(|window| window == b"\"role\":\"tool\"").count();
        let (name, arguments) = if done + 1 < LOOPS as usize {
            ("look", json!({"thought": "I need to look at the next one.", "number": done}))
        } else {
            ("provide_final_answer", json!({"thought": "I have seen all.", "answer": "all seen"}))
        };
        let call = json!({
            "id": format!("call_{done}"), "type": "function",
            "function": {"name": name, "arguments": arguments.to_string()},
        });
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        let answer = json!({
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        writer.write_all((head + &answer).as_bytes()).ok()?;
    }
}

/// The CPU time that this thread has used.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}

fn loops(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = model();
    let text = format!(
        r#"
nodes:
  agent:
    type: dynamiq.nodes.agents.Agent
    llm:
      type: dynamiq.nodes.llms.OpenAI
      model: gpt-4o-mini
      connection: {{type: dynamiq.connections.OpenAI, api_key: none, url: "{url}"}}
    inference_mode: FUNCTION_CALLING
    max_loops: {LOOPS}
    tools:
      - {{id: look, type: dynamiq.nodes.tools.Python, name: look, description: "Looks.", code: "def run(d): pass"}}
flows: {{f: {{nodes: [agent]}}}}
workflows: {{w: {{flow: f}}}}
"#
    );
    let id = "5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009";
    let app: App = serde_json::from_value(json!({
        "id": id, "project": id, "organization": id, "name": "agent", "version": "1",
        "workflow": {"file": "workflow.yaml", "text": text},
    }))
    .expect("an app");
    let engine = Engine::new(EngineConfig {
        python: Arc::new(Nothing),
        jobs: Arc::new(Nothing),
        env: Arc::new(|_, _| Ok(None)),
        allow_loopback: true,
        any_env: true,
    });
    engine.check(&app).expect("the workflow loads");
    let context = || {
        let new = NewRun {
            id: RunId(Uuid::from_u128(1)),
            app: app.id,
            app_version: app.version.clone(),
            created_at: Timestamp(0),
            expires_at: Timestamp(i64::MAX),
            input: Map::from_iter([("input".to_owned(), "history ".repeat(HISTORY / 8).into())]).into(),
            user_id: None,
            session_id: None,
            metadata: BTreeMap::new(),
            files: Vec::new(),
            retry_of: None,
            origin: runyard_runs::Origin::Key,
        };
        RunContext::detached(new, Arc::new(Nothing), Arc::new(SystemClock), &[], |logged| {
            drop(black_box(logged));
        })
    };
    criterion.bench_function("agent: own CPU a loop", |bencher| {
        bencher.iter_custom(|runs| {
            let mut total = Duration::ZERO;
            for _ in 0..runs {
                let context = context();
                let before = cpu();
                let outcome = runtime.block_on(engine.execute(&app, context));
                total += cpu().saturating_sub(before);
                assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
            }
            total / LOOPS
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = loops
}
criterion_main!(benches);
