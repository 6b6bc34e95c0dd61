//! Servers, apps, a stub of an LLM and a client for the tests.

use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::{Child, Command},
    time::{Instant, sleep},
};

/// The timeout of all waits: the awaited events take seconds, on a busy machine up to a minute.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const ORGANIZATION: &str = "0f6a7c0e-53a2-4f3c-9c8e-1d2f3a4b5c01";
const PROJECT: &str = "0f6a7c0e-53a2-4f3c-9c8e-1d2f3a4b5c02";

/// A temporary folder with `apps` and `data`.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    /// Creates a folder with the app `echo`.
    pub(crate) fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.app("echo", "", ECHO);
        home
    }

    pub(crate) fn apps(&self) -> PathBuf {
        self.folder.path().join("apps")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes an app; `more` are further lines of its app.yaml.
    pub(crate) fn app(&self, name: &str, more: &str, workflow: &str) {
        let folder = self.apps().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut id = format!(
            "{:0>12}",
            name.bytes().fold(0_u64, |sum, byte| sum * 31 % 999_999_937 + u64::from(byte))
        );
        id.truncate(12);
        let app = format!(
            "id: 0f6a7c0e-53a2-4f3c-9c8e-{id}\nproject: {PROJECT}\norganization: {ORGANIZATION}\nname: {name}\n\
             workflow:\n  file: workflow.yaml\n{more}"
        );
        fs::write(folder.join("app.yaml"), app).unwrap();
        fs::write(folder.join("workflow.yaml"), workflow).unwrap();
    }

    /// Writes an app that calls the LLM at `address` three times in sequence.
    pub(crate) fn llm_app(&self, name: &str, address: SocketAddr) {
        let ask = |id: &str, before: &str| {
            let depends = if before.is_empty() {
                String::new()
            } else {
                format!("    depends: [{{node: {before}}}]\n")
            };
            format!(
                "  {id}:\n    type: dynamiq.nodes.llms.OpenAI\n    name: {id}\n    model: gpt-4o-mini\n    connection: llm\n    \
                 prompt: {{messages: [{{role: user, content: \"{{{{ q }}}}\"}}]}}\n{depends}"
            )
        };
        let workflow = format!(
            "connections:\n  llm: {{type: dynamiq.connections.OpenAI, api_key: none, url: \"http://{address}/v1\"}}\n\
             nodes:\n{}{}{}\
             flows: {{f: {{nodes: [one, two, three]}}}}\nworkflows: {{w: {{flow: f}}}}\n",
            ask("one", ""),
            ask("two", "one"),
            ask("three", "two"),
        );
        self.app(name, "allow_hosts: [127.0.0.1]\n", &workflow);
    }

    /// Returns a command for `runyard` on this home, without options from the environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_runyard")), arguments)
    }

    /// [`Home::command`] with a limit on the address space, in KiB.
    fn limited_command(&self, kib: u64, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -v {kib} && exec \"$0\" \"$@\"");
        command.arg("-c").arg(limited).arg(env!("CARGO_BIN_EXE_runyard"));
        self.prepared(command, arguments)
    }

    fn prepared(&self, mut command: Command, arguments: &[&str]) -> Command {
        for name in [
            "MALLOC_ARENA_MAX",
            "RUNYARD_MEMORY_MIB",
            "RUNYARD_URL",
            "RUNYARD_KEY",
            "RUNYARD_LISTEN",
            "RUNYARD_DEFAULT_APP",
            "RUNYARD_LOG",
        ] {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("RUNYARD_APPS", self.apps())
            .env("RUNYARD_DATA", self.data())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs `runyard` until it exits.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Done {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output()).await;
        Done::from(output.expect("it ends").unwrap())
    }

    /// Starts `dev` or `serve`; returns once it listens.
    pub(crate) async fn start(&self, command: &str) -> Server {
        self.start_with(command, &[]).await
    }

    pub(crate) async fn start_with(&self, command: &str, more: &[&str]) -> Server {
        self.start_on("127.0.0.1:0", command, more).await
    }

    /// [`Home::start`] with these environment variables.
    pub(crate) async fn start_in(&self, environment: &[(&str, String)], command: &str) -> Server {
        self.start_all("127.0.0.1:0", command, &[], environment, None).await
    }

    pub(crate) async fn start_on(&self, listen: &str, command: &str, more: &[&str]) -> Server {
        self.start_all(listen, command, more, &[], None).await
    }

    /// Starts `serve` with a limit on its address space, in KiB.
    pub(crate) async fn start_limited(&self, kib: u64) -> Server {
        self.start_all("127.0.0.1:0", "serve", &[], &[], Some(kib)).await
    }

    async fn start_all(
        &self,
        listen: &str,
        command: &str,
        more: &[&str],
        environment: &[(&str, String)],
        address_space_kib: Option<u64>,
    ) -> Server {
        let file = self.path().join("address");
        let _ = fs::remove_file(&file);
        let mut arguments = vec![command, "--listen", listen, "--address-file", file.to_str().unwrap()];
        arguments.extend(more);
        let log = fs::File::create(self.path().join("log")).unwrap();
        let environment = environment.iter().map(|(name, value)| (name, value));
        let mut command_line = match address_space_kib {
            Some(kib) => self.limited_command(kib, &arguments),
            None => self.command(&arguments),
        };
        let child =
            command_line.envs(environment).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut server = Server {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            key: String::new(),
            log: self.path().join("log"),
        };
        let started = Instant::now();
        loop {
            if let Some(address) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
                server.address = address;
                break;
            }
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server exited with {status}: {}", server.log());
            }
            assert!(started.elapsed() < PATIENCE, "the server does not listen: {}", server.log());
            sleep(Duration::from_millis(5)).await;
        }
        let dev_key = fs::read_to_string(self.data().join("dev-key"));
        server.key = match dev_key {
            Ok(key) if command == "dev" => key.trim().to_owned(),
            _ => {
                let made = self.run(&["keys", "create", "--org", ORGANIZATION]).await;
                assert_eq!(made.code, 0, "{}", made.err);
                made.out.trim().to_owned()
            }
        };
        server
    }
}

/// A workflow that returns its input.
pub(crate) const ECHO: &str = "nodes:
  in: {type: dynamiq.nodes.utils.Input, name: In, schema: {properties: {message: {type: string}}, required: [message]}}
  out: {type: dynamiq.nodes.utils.Output, name: Out, depends: [{node: in}], input_transformer: {selector: {message: $.in.output.message}}}
flows: {f: {nodes: [in, out]}}
workflows: {w: {flow: f}}
";

/// The result of a command.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// The command's stdout, as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    log: PathBuf,
}

impl Server {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn request(&self, method: &str, app: &str, path: &str) -> reqwest::RequestBuilder {
        self.request_with(&self.key, &format!("{app}.localhost"), method, path)
    }

    pub(crate) fn request_with(
        &self,
        key: &str,
        host: &str,
        method: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.request(method.parse().unwrap(), format!("{}{path}", self.url()));
        request.header("host", host).bearer_auth(key)
    }

    /// Creates a run; returns the status and the body of the response.
    pub(crate) async fn create(&self, app: &str, body: &Value) -> (u16, Value) {
        let response = self.request("POST", app, "/v1/runs").json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, app: &str, path: &str) -> (u16, Value) {
        let response = self.request("GET", app, path).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Waits until the run has ended, and returns it.
    pub(crate) async fn ended(&self, app: &str, run: &str) -> Value {
        let started = Instant::now();
        loop {
            let (status, answer) = self.get(app, &format!("/v1/runs/{run}")).await;
            assert_eq!(status, 200, "{answer}");
            if matches!(answer["data"]["status"].as_str(), Some("completed" | "failed" | "canceled")) {
                return answer["data"].clone();
            }
            assert!(started.elapsed() < PATIENCE, "still {answer}: {}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns all events of a run. Asserts that none is missing and that only the last is terminal.
    pub(crate) async fn whole_log(&self, app: &str, run: &str) -> Vec<Value> {
        let (status, answer) = self.get(app, &format!("/v1/runs/{run}/events?page_size=100")).await;
        assert_eq!(status, 200, "{answer}");
        let events = answer["data"].as_array().unwrap().clone();
        assert_whole(&events);
        events
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id().expect("it runs")).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Kills the server with SIGKILL, and waits until it has exited.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Asserts that sequences start at 1 without gaps, and that only the last event is terminal.
pub(crate) fn assert_whole(events: &[Value]) {
    let terminal = |event: &Value| {
        matches!(event["type"].as_str(), Some("run.completed" | "run.failed" | "run.canceled"))
    };
    let sequences: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>(), "{events:?}");
    assert_eq!(events.iter().filter(|event| terminal(event)).count(), 1, "{events:?}");
    assert!(events.last().is_some_and(terminal), "{events:?}");
}

/// Parses the events of a complete stream.
pub(crate) fn events_of(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// An OpenAI-compatible server that answers each call after `delay`, and counts them.
pub(crate) struct Llm {
    pub(crate) address: SocketAddr,
    pub(crate) calls: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Llm {
    pub(crate) async fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = calls.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = counter.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while let Some(length) = whole_request(&request) {
                        if request.len() < length {
                            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                                return;
                            }
                            continue;
                        }
                        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        request.drain(..length);
                        sleep(delay).await;
                        let body = json!({
                            "id": "c", "object": "chat.completion", "created": 0, "model": "gpt-4o-mini",
                            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Because."}}],
                            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
                        })
                        .to_string();
                        let head = format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        if stream.write_all((head + &body).as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, calls }
    }
}

/// The length of the request at the start of `bytes`; while its head is incomplete, one byte more than `bytes`.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Some(bytes.len() + 1);
    };
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    Some(end + 4 + length.unwrap_or(0))
}
