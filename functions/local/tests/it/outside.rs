//! The services that the tests' runs call: a model that drives an agent, and an API. Both count calls and can hang.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, time::sleep};

/// How long a call takes: long enough for a kill in the middle.
const WORK: Duration = Duration::from_millis(25);

/// The external services of one test.
pub(crate) struct Outside {
    pub(crate) address: SocketAddr,
    state: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// The idempotency keys of each step's calls; empty for calls without one.
    calls: Mutex<BTreeMap<String, Vec<String>>>,
    /// Calls that hang, and how many of their callers have disconnected.
    hanging: AtomicUsize,
    left: AtomicUsize,
    /// Whether `/later` answers.
    open: AtomicBool,
}

impl Counts {
    fn count(&self, step: String, key: String) {
        self.calls.lock().unwrap().entry(step).or_default().push(key);
    }

    fn hang(self: &Arc<Self>) -> Hanging {
        self.hanging.fetch_add(1, Ordering::SeqCst);
        Hanging(Arc::clone(self))
    }
}

/// A call that is never answered; dropped when its connection is closed.
struct Hanging(Arc<Counts>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::SeqCst);
    }
}

impl Outside {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Counts>::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/customers/{id}", get(customer))
            .route("/pay", post(pay))
            .route("/hang", get(hang))
            .route("/later", get(later))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    /// The number of calls of each step so far.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let calls = self.state.calls.lock().unwrap();
        calls.iter().map(|(step, keys)| (step.clone(), keys.len())).collect()
    }

    /// Takes the idempotency keys of the calls so far, by step.
    pub(crate) fn take(&self) -> BTreeMap<String, Vec<String>> {
        std::mem::take(&mut *self.state.calls.lock().unwrap())
    }

    /// Lets `/later` succeed from now on.
    pub(crate) fn open(&self) {
        self.state.open.store(true, Ordering::SeqCst);
    }

    /// The number of calls that hang, and how many of their callers have disconnected.
    pub(crate) fn hanging(&self) -> (usize, usize) {
        (self.state.hanging.load(Ordering::SeqCst), self.state.left.load(Ordering::SeqCst))
    }
}

/// The model. `hang` streams words forever; `writer` answers at once; any other calls its tools in a fixed order: it
/// looks up the customer, adds, calls the writer, pays, and answers.
async fn complete(State(state): State<Arc<Counts>>, Json(request): Json<Value>) -> Response {
    let model = request["model"].as_str().unwrap_or_default();
    if model == "hang" {
        let hanging = state.hang();
        let words = stream::unfold(hanging, |hanging| async move {
            sleep(WORK).await;
            let chunk =
                json!({"choices": [{"index": 0, "delta": {"content": "and "}, "finish_reason": null}]});
            Some((Ok::<_, Infallible>(Bytes::from(format!("data: {chunk}\n\n"))), hanging))
        });
        return ([("content-type", "text/event-stream")], Body::from_stream(words)).into_response();
    }
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let step = messages.iter().filter(|message| message["role"] == "tool").count();
    state.count(format!("{model} {step}"), String::new());
    sleep(WORK).await;
    let (name, arguments) = match (model, step) {
        ("writer", _) => ("provide_final_answer", json!({"answer": "Dear Ada, your money comes back."})),
        (_, 0) => ("Look-up", json!({})),
        (_, 1) => ("Add", json!({"left": 400, "right": 300})),
        (_, 2) => ("Writer", json!({"input": "Write to Ada."})),
        (_, 3) => ("Pay", json!({"data": {"amount": 700}})),
        _ => ("provide_final_answer", json!({"answer": answer_of(messages)})),
    };
    let mut arguments = arguments;
    arguments["thought"] = "next".into();
    let call = json!({
        "id": format!("call_{step}"), "type": "function",
        "function": {"name": name, "arguments": arguments.to_string()},
    });
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    Json(json!({
        "id": "c", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }))
    .into_response()
}

/// The result of the last tool, in a sentence: the answer shows whether the model got the result.
fn answer_of(messages: &[Value]) -> String {
    let last = messages.iter().rev().find(|message| message["role"] == "tool");
    format!("Done: {}", last.and_then(|message| message["content"].as_str()).unwrap_or("nothing"))
}

async fn customer(State(state): State<Arc<Counts>>, Path(id): Path<String>) -> Json<Value> {
    state.count("customer".to_owned(), String::new());
    sleep(WORK).await;
    Json(json!({"id": id, "name": "Ada", "paid": 900}))
}

async fn pay(State(state): State<Arc<Counts>>, headers: HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    let key = headers.get("idempotency-key").map_or("", |key| key.to_str().unwrap());
    state.count("pay".to_owned(), key.to_owned());
    sleep(WORK).await;
    Json(json!({"paid": body["amount"]}))
}

async fn later(State(state): State<Arc<Counts>>) -> Result<&'static str, StatusCode> {
    state.count("later".to_owned(), String::new());
    if state.open.load(Ordering::SeqCst) { Ok("open") } else { Err(StatusCode::SERVICE_UNAVAILABLE) }
}

async fn hang(State(state): State<Arc<Counts>>) -> Json<Value> {
    let _hanging = state.hang();
    std::future::pending().await
}

/// An agent with three tools, a sub-agent, and an approval before the one that pays.
pub(crate) const AGENT: &str = r#"
connections:
  llm: {type: dynamiq.connections.OpenAI, api_key: none, url: "${oc.env:OUTSIDE}/v1"}
  customers: {type: dynamiq.connections.Http, method: GET, url: "${oc.env:OUTSIDE}/customers/17"}
  bank: {type: dynamiq.connections.Http, method: POST, url: "${oc.env:OUTSIDE}/pay"}
nodes:
  in: {type: dynamiq.nodes.utils.Input, schema: {properties: {question: {type: string}}, required: [question]}}
  agent:
    type: dynamiq.nodes.agents.Agent
    name: Clerk
    llm: {type: dynamiq.nodes.llms.OpenAI, model: clerk, connection: llm}
    inference_mode: FUNCTION_CALLING
    max_loops: 8
    tools:
      - {id: look, type: dynamiq.nodes.tools.HttpApiCall, name: Look-up, connection: customers}
      - {id: add, type: dynamiq.nodes.tools.Python, name: Add, code: "def run(d):\n    return {'content': int(d['left']) + int(d['right'])}\n"}
      - {id: writer, type: dynamiq.nodes.agents.Agent, name: Writer, inference_mode: FUNCTION_CALLING, llm: {type: dynamiq.nodes.llms.OpenAI, model: writer, connection: llm}}
      - {id: pay, type: dynamiq.nodes.tools.HttpApiCall, name: Pay, connection: bank, payload_type: json, approval: {enabled: true, msg_template: "Pay {{ input_data.data.amount }}?", mutable_data_params: [data]}}
    depends: [{node: in}]
    input_transformer: {selector: {input: $.in.output.question}}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: agent}], input_transformer: {selector: {answer: $.agent.output.content}}}
flows: {f: {nodes: [in, agent, out]}}
workflows: {w: {flow: f}}
"#;

/// Two calls, of which the second succeeds after [`Outside::open`].
pub(crate) const LATER: &str = r#"
connections:
  customers: {type: dynamiq.connections.Http, method: GET, url: "${oc.env:OUTSIDE}/customers/17"}
  later: {type: dynamiq.connections.Http, method: GET, url: "${oc.env:OUTSIDE}/later"}
nodes:
  first: {type: dynamiq.nodes.tools.HttpApiCall, connection: customers}
  second: {type: dynamiq.nodes.tools.HttpApiCall, connection: later, depends: [{node: first}], response_type: text}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: second}], input_transformer: {selector: {first: $.first.output.content.name, second: $.second.output.content}}}
flows: {f: {nodes: [first, second, out]}}
workflows: {w: {flow: f}}
"#;

/// Lines of app.yaml for [`AGENT`] and [`LATER`].
pub(crate) const AGENT_APP: &str = "env: [OUTSIDE]\nallow_hosts: [127.0.0.1]\n";

/// The agent's answer after a person approved a smaller amount: it repeats the last tool result.
pub(crate) const DONE: &str = "Done: [A person changed `data` from {\"amount\":700} to {\"amount\":450} before it was executed.]\n{\n  \"paid\": 450\n}";
