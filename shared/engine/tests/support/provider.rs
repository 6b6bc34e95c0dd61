//! A model provider that sends recorded responses in sequence, of any protocol.

use serde_json::Value;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A response.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lines that end in `\r\n`.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
    /// Bytes per chunk.
    pub(crate) piece: usize,
    /// Whether the connection breaks before the end of the body.
    pub(crate) breaks: bool,
    /// Delay before the response.
    pub(crate) after: Duration,
}

impl Answer {
    pub(crate) fn json(body: &Value) -> Self {
        Self::new("application/json", body.to_string().into_bytes())
    }

    /// A stream of Server-Sent Events, sent unchanged.
    pub(crate) fn events(text: &str) -> Self {
        Self::new("text/event-stream", text.as_bytes().to_vec())
    }

    pub(crate) fn new(content_type: &str, body: Vec<u8>) -> Self {
        let headers = format!("content-type: {content_type}\r\n");
        Self { status: 200, headers, body, piece: usize::MAX, breaks: false, after: Duration::ZERO }
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push_str(line);
        self.headers.push_str("\r\n");
        self
    }

    pub(crate) fn pieces(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    pub(crate) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// Omits the last `bytes` and the end of the body.
    pub(crate) fn broken(mut self, bytes: usize) -> Self {
        self.body.truncate(self.body.len() - bytes);
        Self { breaks: true, ..self }
    }
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: Vec<(String, String)>,
    /// JSON, or else text.
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Provider {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    /// The number of requests in flight, and its maximum.
    open: Arc<Mutex<(usize, usize)>>,
}

impl Provider {
    /// Sends these responses in sequence, and then repeats the last one.
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let shared = Arc::clone(&received);
        let open = Arc::<Mutex<(usize, usize)>>::default();
        let counted = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (received, answers) = (Arc::clone(&shared), answers.clone());
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    // A client may disconnect.
                    let _ = serve(stream, &received, &answers, &counted).await;
                });
            }
        });
        Self { url, received, open }
    }

    /// The largest number of concurrent requests.
    pub(crate) fn most_at_once(&self) -> usize {
        self.open.lock().expect("requests").1
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("requests").clone()
    }
}

async fn serve(
    stream: TcpStream,
    received: &Mutex<Vec<Received>>,
    answers: &[Answer],
    open: &Mutex<(usize, usize)>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    let answer = {
        let mut received = received.lock().expect("requests");
        received.push(Received { path, headers, body });
        answers[(received.len() - 1).min(answers.len() - 1)].clone()
    };
    {
        let mut open = open.lock().expect("requests");
        open.0 += 1;
        open.1 = open.1.max(open.0);
    }
    tokio::time::sleep(answer.after).await;
    open.lock().expect("requests").0 -= 1;
    let head = format!(
        "HTTP/1.1 {} Recorded\r\n{}transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        answer.status, answer.headers
    );
    stream.write_all(head.as_bytes()).await?;
    for piece in answer.body.chunks(answer.piece.min(answer.body.len()).max(1)) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(piece).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await?;
    }
    if !answer.breaks {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    stream.shutdown().await
}
