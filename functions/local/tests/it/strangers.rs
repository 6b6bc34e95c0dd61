//! Protection against others: secrets, withdrawn `allow_hosts`, untrusted text on a terminal, the data directory.

use crate::harness::{ECHO, Home, PATIENCE};
use axum::{Router, http::HeaderMap, http::StatusCode};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// A server that echoes a header of each request, and counts requests.
async fn repeating(status: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let calls = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&calls);
    let router = Router::new().fallback(move |headers: HeaderMap| {
        counted.fetch_add(1, Ordering::SeqCst);
        let text = format!("{{\"error\": \"you sent {:?}\"}}", headers.get("x-api-key")).replace("\\\"", "'");
        async move { (StatusCode::from_u16(status).unwrap(), text) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, calls)
}

fn calling(address: SocketAddr, more: &str) -> String {
    format!(
        "connections: {{c: {{type: dynamiq.connections.Http, method: GET, url: \"http://{address}/x\", headers: {{X-Api-Key: \"${{oc.env:DOCK_KEY,none}}\"}}}}}}\n\
         nodes:\n  in: {{type: dynamiq.nodes.utils.Input}}\n  call: {{type: dynamiq.nodes.tools.HttpApiCall, connection: c, depends: [{{node: in}}], input_transformer: {{selector: {{nothing: nothing}}}}{more}}}\n\
         flows: {{f: {{nodes: [in, call]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
    )
}

fn all_files(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(all_files(&entry.unwrap().path()));
        }
    }
    all
}

#[tokio::test]
async fn a_secret_that_a_server_echoes_is_neither_stored_nor_shown() {
    const SECRET: &str = "dock-4711-secret";
    let home = Home::new();
    let more = "env: [DOCK_KEY]\nallow_hosts: [127.0.0.1]\n";
    for (name, status) in [("refused", 401), ("answered", 200)] {
        home.app(name, more, &calling(repeating(status).await.0, ""));
    }
    let environment = [("DOCK_KEY", SECRET.to_owned()), ("RUNYARD_LOG", "debug".to_owned())];
    let server = home.start_in(&environment, "serve").await;
    for (name, status) in [("refused", "failed"), ("answered", "completed")] {
        let (code, answer) = server.create(name, &json!({"input": {"a": 1}})).await;
        assert_eq!((code, answer["data"]["status"].as_str()), (200, Some(status)), "{answer}");
        let id = answer["data"]["id"].as_str().unwrap();
        let events = Value::from(server.whole_log(name, id).await);
        for shown in [answer.to_string(), events.to_string()] {
            assert!(shown.contains("***") && !shown.contains(SECRET), "{shown}");
        }
    }
    assert!(!server.log().contains(SECRET), "{}", server.log());
    for file in all_files(&home.data()).iter().filter(|path| path.is_file()) {
        let bytes = fs::read(file).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{}", file.display());
    }
}

#[tokio::test]
async fn hosts_withdrawn_from_an_app_are_withdrawn_from_its_earlier_versions() {
    let home = Home::new();
    let (address, calls) = repeating(200).await;
    let workflow = calling(address, ", success_codes: [299]");
    home.app("h", "allow_hosts: [127.0.0.1]\n", &workflow);
    let server = home.start("serve").await;
    let (_, answer) = server.create("h", &json!({"input": {"a": 1}})).await;
    let id = answer["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!((answer["data"]["status"].as_str(), calls.load(Ordering::SeqCst)), (Some("failed"), 1));
    let retry = async || {
        let request =
            server.request("POST", "h", &format!("/v1/runs/{id}/retry")).header("prefer", "wait=20");
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        server.ended("h", answer["data"]["id"].as_str().unwrap()).await["error"]["message"].to_string()
    };
    assert!(retry().await.contains("status 200"), "the old version may still call");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    home.app("h", "allow_hosts: []\n", &workflow);
    let started = Instant::now();
    loop {
        let (_, answer) = server.create("h", &json!({"input": {"a": 1}})).await;
        if answer.to_string().contains("not a public address") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "it is not reloaded: {answer}");
        sleep(Duration::from_millis(100)).await;
    }
    let before = calls.load(Ordering::SeqCst);
    let refused = retry().await;
    assert!(refused.contains("not a public address"), "{refused}");
    assert_eq!(calls.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn a_data_directory_with_open_permissions_is_made_private() {
    let home = Home::new();
    fs::create_dir_all(home.data()).unwrap();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.data().join("dev-key"), "an old key").unwrap();
    for command in ["dev", "serve"] {
        let server = home.start(command).await;
        let note = home.path().join("note.txt");
        fs::write(&note, "a note").unwrap();
        let (url, key) = (server.url(), server.key.clone());
        let done = home
            .run(&["files", "upload", note.to_str().unwrap(), "--app", "echo", "--url", &url, "--key", &key])
            .await;
        assert_eq!(done.code, 0, "{}", done.err);
        for path in all_files(&home.data()) {
            let found = fs::metadata(&path).unwrap();
            let expected = if found.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(found.permissions().mode() & 0o777, expected, "{command}: {}", path.display());
        }
        server.kill().await;
    }
}

const EVIL: &str =
    "\u{1b}]0;t\u{7}\u{1b}[2J\u{9b}31mRED\u{7f}\r\nFAKE completed row\u{202e}\u{2066}\u{200f}\u{85}";

fn is_harmless(text: &str) -> bool {
    !text.contains(|char: char| {
        (char.is_control() && char != '\n')
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    }) && !text.lines().any(|line| line.starts_with("FAKE"))
}

#[tokio::test]
async fn untrusted_text_does_not_control_the_terminal() {
    let home = Home::new();
    let failing = ECHO.replace("dynamiq.nodes.utils.Output", "dynamiq.nodes.tools.Python").replace(
        "name: Out,",
        "name: Out, code: \"def run(input_data):\\n    raise ValueError(input_data['message'])\",",
    );
    let asking = ECHO
        .replace("name: Out,", "name: Out, approval: {enabled: true, msg_template: \"Pay {{ message }}?\"},");
    home.app("fail", "public: true\n", &failing);
    home.app("ask", "public: true\n", &asking);
    let server = home.start("serve").await;
    let (url, key) = (server.url(), server.key.clone());
    let input = json!({"message": EVIL});
    let made = async |app: &str| {
        let body = json!({"input": input, "user_id": EVIL, "metadata": {"k": EVIL}});
        let (status, answer) = server.create(app, &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"].clone()
    };
    let (failed, asked, echoed) = (made("fail").await, made("ask").await, made("echo").await);
    assert!(
        failed["error"]["message"].as_str().unwrap().contains('\u{1b}'),
        "the API returns the text unescaped: {failed}"
    );
    for (app, run) in [("fail", &failed), ("ask", &asked), ("echo", &echoed)] {
        let id = run["id"].as_str().unwrap();
        let text = input.to_string();
        let commands: [&[&str]; 6] = [
            &["runs", "list", "--app", app],
            &["runs", "get", id, "--app", app],
            &["runs", "events", id, "--app", app],
            &["runs", "tail", id, "--app", app],
            &["run", app, "--input", &text],
            &["run", app, "--input", &text, "--stream"],
        ];
        for command in commands {
            for json in [false, true] {
                let mut command = command.to_vec();
                command.extend(["--url", &url, "--key", &key]);
                command.extend(json.then_some("--json"));
                let done = home.run(&command).await;
                assert!(
                    is_harmless(&done.out) && is_harmless(&done.err),
                    "{command:?}: {:?} {:?}",
                    done.out,
                    done.err
                );
                if json {
                    let lines = done.out.lines().map(serde_json::from_str::<Value>);
                    let shown = lines.map(|line| line.unwrap().to_string()).collect::<String>();
                    assert!(shown.is_empty() || shown.contains("RED"), "{command:?}: {shown}");
                }
            }
        }
    }
    // The same text in an app's file.
    let written = [
        ('\u{1b}', "\\e"),
        ('\r', "\\r"),
        ('\n', "\\n"),
        ('\u{7}', "\\a"),
        ('\u{7f}', "\\x7f"),
        ('\u{85}', "\\N"),
        ('\u{9b}', "\\x9b"),
    ];
    let written = written.iter().fold(EVIL.to_owned(), |text, (char, escape)| text.replace(*char, escape));
    let wrong = format!(
        "nodes: {{n: {{type: \"a{written}\"}}}}\nflows: {{f: {{nodes: [n]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
    );
    home.app("wrong", "", &wrong);
    for command in [&["apps", "check", "wrong"][..], &["apps", "list"], &["apps", "check", "wrong", "--json"]]
    {
        let done = home.run(command).await;
        assert!(
            is_harmless(&done.out) && is_harmless(&done.err),
            "{command:?}: {:?} {:?}",
            done.out,
            done.err
        );
        assert!(
            done.out.contains("RED") || done.err.contains("RED"),
            "{command:?}: {:?} {:?}",
            done.out,
            done.err
        );
    }
}
