//! Hostile requests take little memory, also many at once, and a server with 2 GiB of address space survives them.

use crate::harness::{Home, Server};
use futures::future::join_all;
use serde_json::{Value, json};
use std::fs;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ADDRESS_SPACE_KIB: u64 = 2 << 20;
const MIB: u64 = 1 << 20;

const PASS_ON: &str = "nodes:
  in: {type: dynamiq.nodes.utils.Input}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: in}], input_transformer: {path: $.in.output}}
flows: {f: {nodes: [in, out]}}
workflows: {w: {flow: f}}
";

const MAP: &str = "nodes:
  in: {type: dynamiq.nodes.utils.Input}
  map:
    type: dynamiq.nodes.operators.Map
    depends: [{node: in}]
    input_transformer: {path: $.in.output}
    max_workers: 16
    node: {type: dynamiq.nodes.operators.Pass}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: map}]}
flows: {f: {nodes: [in, map, out]}}
workflows: {w: {flow: f}}
";

/// The server's peak and current resident memory, in bytes.
fn memory(server: &Server) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id().expect("it runs"))).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    };
    (kib("VmHWM:") << 10, kib("VmRSS:") << 10)
}

async fn send(server: &Server, app: &str, body: String) -> (u16, String) {
    let request = server.request("POST", app, "/v1/runs").header("content-type", "application/json");
    let response = request.body(body).send().await.expect("the server is running");
    let status = response.status().as_u16();
    (status, response.text().await.expect("the response is complete"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_many_values_take_little_memory_alone_and_at_once() {
    let home = Home::new();
    home.app("pass", "public: true\n", PASS_ON);
    let server = home.start_limited(ADDRESS_SPACE_KIB).await;
    assert_eq!(send(&server, "echo", json!({ "input": { "message": "hi" } }).to_string()).await.0, 200);
    let (_, idle) = memory(&server);

    let values = |piece: &str, bytes: usize| {
        format!("{{\"input\":{{\"a\":[{piece}{}]}}}}", format!(",{piece}").repeat(bytes / (piece.len() + 1)))
    };
    for piece in ["{\"a\":1}", "{}", "0", "\"\"", "[[]]"] {
        let (status, answer) = send(&server, "pass", values(piece, 4_000_000)).await;
        assert_eq!(status, 413, "{piece} {answer}");
    }
    let largest = values("{\"a\":1}", 260_000);
    let (status, answer) = send(&server, "pass", largest.clone()).await;
    assert_eq!(status, 200, "{}", &answer[..answer.len().min(300)]);
    let (peak, _) = memory(&server);
    assert!(peak - idle < 150 * MIB, "one request at the limit took {} MiB", (peak - idle) / MIB);

    let text = json!({ "input": { "a": "x".repeat(4_000_000) } }).to_string();
    let bodies = (0..60).map(|number| if number % 2 == 0 { largest.clone() } else { text.clone() });
    let answers = join_all(bodies.map(|body| send(&server, "pass", body))).await;
    let count = |wanted: u16| answers.iter().filter(|(status, _)| *status == wanted).count();
    assert_eq!(
        count(200) + count(503),
        60,
        "{:?}",
        answers.iter().map(|(status, _)| status).collect::<Vec<_>>()
    );
    assert!(count(200) > 0);
    let (peak, _) = memory(&server);
    assert!(peak < 1200 * MIB, "all at once took {} MiB", peak / MIB);
    assert_eq!(send(&server, "echo", json!({ "input": { "message": "hi" } }).to_string()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_long_log_takes_memory_for_the_page_only() {
    let home = Home::new();
    home.app("map", "", MAP);
    let server = home.start_limited(ADDRESS_SPACE_KIB).await;
    let rows: Vec<Value> =
        (0..4000).map(|number| json!({ "row": number, "text": "x".repeat(800) })).collect();
    let (status, answer) = server.create("map", &json!({ "input": { "input": rows } })).await;
    assert_eq!((status, &answer["data"]["status"]), (200, &json!("completed")), "{answer}");
    let path = format!("/v1/runs/{}", answer["data"]["id"].as_str().unwrap());

    let (before, _) = memory(&server);
    let page = async |query: String| server.get("map", &format!("{path}/events?{query}")).await;
    let (status, first) = page("page_size=1".into()).await;
    assert_eq!((status, &first["data"][0]["type"]), (200, &json!("run.started")));
    let total = first["pagination"]["total_count"].as_u64().unwrap();
    assert!(total > 8000, "{total}");
    let pages = (0..24).map(|number| match number % 3 {
        0 => page("page_size=1".into()),
        1 => page("page_size=1&sort=-sequence".into()),
        _ => page(format!("page_size=1&page={}", total / 2)),
    });
    assert!(
        join_all(pages)
            .await
            .iter()
            .all(|(status, page)| *status == 200 && page["data"].as_array().unwrap().len() == 1)
    );
    let (after, _) = memory(&server);
    assert!(after - before < 100 * MIB, "24 pages of one event took {} MiB", (after - before) / MIB);

    // Clients that request the whole log and read nothing hold one frame each.
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET {path}/stream HTTP/1.1\r\nhost: map.localhost\r\nauthorization: Bearer {}\r\n\r\n",
            server.key
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        silent.push(stream);
    }
    assert_eq!(page("page_size=1".into()).await.0, 200);
    let (stalled, _) = memory(&server);
    assert!(stalled - after < 200 * MIB, "100 silent clients took {} MiB", (stalled - after) / MIB);
    // A client that reads gets the whole log.
    let stream =
        server.request("GET", "map", &format!("{path}/stream")).send().await.unwrap().text().await.unwrap();
    assert_eq!(crate::harness::events_of(&stream).len() as u64, total);
}
