//! A model that answers from a script, over the chat completions API. Like `tests/llm/stub.py`, it also serves
//! embeddings, `/echo` and `/fail/STATUS`.
//!
//! An item of the script is a text, or `{content, tool_calls, status, headers, match, repeat}`, where calls are
//! `{name, arguments}` or in the format of the API. The first item whose `match` is in the request is used, else the
//! first one without a `match`.

use serde_json::{Value, json};
use sha2::Digest as _;
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

const CHUNK: usize = 7;

pub(crate) struct Scripted {
    pub(crate) url: String,
    /// The server's URL without `/v1`, for `/echo` and `/fail/STATUS`.
    pub(crate) root: String,
    state: Arc<Mutex<State>>,
}

struct State {
    script: Vec<Value>,
    requests: Vec<Value>,
    /// The number of calls of `/echo`.
    echoes: usize,
}

impl Scripted {
    pub(crate) async fn start(script: Value) -> Self {
        let Value::Array(script) = script else { panic!("a script is a list") };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let root = format!("http://{}", listener.local_addr().expect("an address"));
        let url = format!("{root}/v1");
        let state = Arc::new(Mutex::new(State { script, requests: Vec::new(), echoes: 0 }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _ = serve(stream, &state).await;
                });
            }
        });
        Self { url, root, state }
    }

    pub(crate) fn echoes(&self) -> usize {
        self.state.lock().expect("state").echoes
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.state.lock().expect("state").requests.clone()
    }
}

async fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut first = first.split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let json = "content-type: application/json\r\n";
    if path.starts_with("/echo") {
        state.lock().expect("state").echoes += 1;
        let body = String::from_utf8_lossy(&body);
        let echo = json!({"method": method, "path": path, "query": query, "body": body});
        stream.write_all(http(200, json, &spaced(&echo)).as_bytes()).await?;
        return stream.shutdown().await;
    }
    if let Some(status) = path.strip_prefix("/fail/") {
        let failure = spaced(&json!({"error": "scripted failure"}));
        stream.write_all(http(status.parse().expect("a status"), json, &failure).as_bytes()).await?;
        return stream.shutdown().await;
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if path.ends_with("/embeddings") {
        let answer = http(200, json, &embeddings(&request).to_string());
        stream.write_all(answer.as_bytes()).await?;
        return stream.shutdown().await;
    }
    if !path.ends_with("/chat/completions") {
        let message = json!({"error": {"message": format!("no route {path}")}});
        stream.write_all(http(404, json, &message.to_string()).as_bytes()).await?;
        return stream.shutdown().await;
    }
    let streams = request["stream"] == true;
    let item = state.lock().expect("state").take(request);
    stream.write_all(answer(&item, streams).as_bytes()).await?;
    stream.shutdown().await
}

/// JSON with Python's spacing.
fn spaced(value: &Value) -> String {
    let entries: Vec<String> = value
        .as_object()
        .expect("an object")
        .iter()
        .map(|(key, value)| format!("\"{key}\": {value}"))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// Eight numbers per text, derived from its hash.
fn embeddings(request: &Value) -> Value {
    let one = vec![request["input"].clone()];
    let texts = request["input"].as_array().unwrap_or(&one);
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let hash = sha2::Sha256::digest(text.as_str().unwrap_or_default());
            let embedding: Vec<f64> = hash[..8].iter().map(|byte| f64::from(*byte) / 255.0).collect();
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let usage = json!({"prompt_tokens": 1, "total_tokens": 1});
    json!({"object": "list", "data": data, "model": request["model"], "usage": usage})
}

impl State {
    fn take(&mut self, request: Value) -> Value {
        let text = request.to_string();
        self.requests.push(request);
        let wanted = |item: &Value| item["match"].as_str().is_some_and(|part| text.contains(part));
        let index = self.script.iter().position(wanted);
        let index = index.or_else(|| self.script.iter().position(|item| item["match"].is_null()));
        let item = match index {
            Some(index) if self.script[index]["repeat"] == true => self.script[index].clone(),
            Some(index) => self.script.remove(index),
            None => json!({"status": 400, "error": "the script is at its end"}),
        };
        with_functions(item, self.requests.len())
    }
}

/// Converts an item's `{name, arguments}` to the API's format of calls; `number` is the number of the request.
fn with_functions(mut item: Value, number: usize) -> Value {
    let calls = item.get_mut("tool_calls").and_then(Value::as_array_mut);
    for (index, call) in calls.into_iter().flatten().enumerate() {
        if call["function"].is_null() {
            let arguments = match &call["arguments"] {
                Value::String(text) => text.clone(),
                arguments => arguments.to_string(),
            };
            let id = call["id"].as_str().map_or_else(|| format!("call_{number}_{index}"), str::to_owned);
            *call = json!({
                "id": id, "type": "function", "function": {"name": call["name"], "arguments": arguments},
            });
        }
    }
    item
}

fn answer(item: &Value, streams: bool) -> String {
    if let Some(status) = item["status"].as_u64() {
        let message = item["error"].as_str().unwrap_or("scripted");
        let headers = item["headers"].as_str().unwrap_or_default();
        let body = json!({"error": {"message": message}}).to_string();
        return http(status, &format!("content-type: application/json\r\n{headers}"), &body);
    }
    let content = item.as_str().or_else(|| item["content"].as_str());
    let usage =
        json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}});
    if !streams {
        let message = json!({"role": "assistant", "content": content, "tool_calls": item["tool_calls"]});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        return http(
            200,
            "content-type: application/json\r\n",
            &json!({"choices": [choice], "usage": usage}).to_string(),
        );
    }
    let event = |delta: Value, finish: Value| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let mut body = event(json!({"role": "assistant", "content": ""}), Value::Null);
    let characters: Vec<char> = content.unwrap_or_default().chars().collect();
    for piece in characters.chunks(CHUNK) {
        body.push_str(&event(json!({"content": piece.iter().collect::<String>()}), Value::Null));
    }
    for (index, call) in item["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let name = json!({"index": index, "id": call["id"], "function": {"name": call["function"]["name"]}});
        body.push_str(&event(json!({"tool_calls": [name]}), Value::Null));
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        for piece in arguments.as_bytes().chunks(CHUNK) {
            let piece = String::from_utf8_lossy(piece);
            let piece = json!({"index": index, "function": {"arguments": piece}});
            body.push_str(&event(json!({"tool_calls": [piece]}), Value::Null));
        }
    }
    body.push_str(&event(json!({}), "stop".into()));
    let last = json!({"choices": [], "usage": usage}).to_string();
    body.extend(["data: ", &last, "\n\ndata: [DONE]\n\n"]);
    http(200, "content-type: text/event-stream\r\n", &body)
}

fn http(status: u64, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Scripted\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
