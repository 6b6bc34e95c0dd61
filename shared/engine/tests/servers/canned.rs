//! An HTTP server with canned responses, for services that are not available to the tests.

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A server with responses `(prefix, status, body)`. The first one whose prefix matches "METHOD path" is used.
pub(crate) struct Canned {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `POST /path?query`.
    pub(crate) line: String,
    /// In lower case, one per line.
    pub(crate) headers: String,
    pub(crate) body: Value,
}

impl Canned {
    pub(crate) async fn start(answers: Vec<(&'static str, u16, Value)>) -> Self {
        Self::answering(answers, false).await
    }

    /// Uses each response once.
    pub(crate) async fn start_in_turn(answers: Vec<(&'static str, u16, Value)>) -> Self {
        Self::answering(answers, true).await
    }

    async fn answering(answers: Vec<(&'static str, u16, Value)>, once: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (seen, answers) = (Arc::clone(&requests), Arc::new(Mutex::new(answers)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
                tokio::spawn(async move {
                    let _ = serve(stream, &seen, &answers, once).await;
                });
            }
        });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test fails in here").clone()
    }
}

async fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answers: &Mutex<Vec<(&'static str, u16, Value)>>,
    once: bool,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut headers, mut length) = (String::new(), String::new(), 0);
    stream.read_line(&mut line).await?;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        if header.trim().is_empty() {
            break;
        }
        let header = header.to_lowercase();
        if let Some(given) = header.strip_prefix("content-length:") {
            length = given.trim().parse().unwrap_or(0);
        }
        headers.push_str(&header);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let (status, answer) = {
        let mut answers = answers.lock().expect("no test fails in here");
        match answers.iter().position(|(to, _, _)| line.starts_with(to)) {
            Some(index) if once => (answers[index].1, answers.remove(index).2),
            Some(index) => (answers[index].1, answers[index].2.clone()),
            None => (404, json!({})),
        }
    };
    let request = Request { line, headers, body: serde_json::from_slice(&body).unwrap_or_default() };
    seen.lock().expect("no test fails in here").push(request);
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status} Canned\r\ncontent-type: application/json\r\nconnection: close\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{answer}", answer.len()).as_bytes()).await?;
    stream.shutdown().await
}
