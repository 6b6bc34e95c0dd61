//! Uploads, alone or with a run: they are streamed, and deleted if refused.

use crate::world::{MULTIPART, World, multipart};
use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use runyard_conformance::memory::MemoryFiles;
use runyard_http::Config;
use runyard_runs::{AppId, File, FileId, FileStore, NewFile, StoreError, Timestamp, Upload};
use serde_json::json;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

#[tokio::test]
async fn a_file_is_stored_for_later_runs() {
    let world = World::new();
    let post = async |body: Vec<u8>| {
        let request = world.request("POST", "/v1/files").header("content-type", MULTIPART);
        world.send(request.body(Body::from(body)).unwrap()).await
    };
    let body = multipart(&[
        ("name=other", b"skipped"),
        ("name=file; filename=\"a/b.txt\"\r\nContent-Type: text/plain", b"hello\r\n--world"),
    ]);
    let file = post(body).await.json()["data"].clone();
    assert_eq!(
        (&file["name"], &file["size"], &file["mime_type"]),
        (&json!("b.txt"), &json!(14), &json!("text/plain"))
    );
    let run = world.post("/v1/runs", &json!({ "input": { "do": [] }, "file_ids": [file["id"]] })).await;
    assert_eq!(run.json()["data"]["files"], json!([file]));
    for bad in [
        multipart(&[]),
        multipart(&[("name=files; filename=x", b"x")]),
        multipart(&[("name=file; filename=x", b"x"), ("name=file; filename=y", b"y")]),
        multipart(&[(&format!("name=file; filename={}", "x".repeat(256)), b"x")]),
    ] {
        let answer = post(bad).await;
        assert_eq!((answer.status.as_u16(), answer.details()), (400, vec!["file".to_owned()]));
    }
    assert_eq!(world.post("/v1/files", &json!({ "name": "x", "size": 1 })).await.status, 415);
    assert_eq!(world.files.count(), 1, "refused requests leave no files");
}

#[tokio::test]
async fn a_form_creates_a_run_with_its_files() {
    let world = World::new();
    let post = async |parts: &[(&str, &[u8])]| {
        let request = world.request("POST", "/v1/runs").header("content-type", MULTIPART);
        world.send(request.body(Body::from(multipart(parts))).unwrap()).await
    };
    let earlier =
        post(&[("name=files; filename=a", b"1"), ("name=input", br#"{"do":[1]}"#), ("name=user_id", b"u")])
            .await;
    let earlier = earlier.json()["data"].clone();
    assert_eq!((&earlier["output"], &earlier["user_id"]), (&json!([1]), &json!("u")));
    assert_eq!(earlier["files"][0]["mime_type"], "application/octet-stream");
    let ids = json!([earlier["files"][0]["id"]]).to_string();
    let both = post(&[
        ("name=files; filename=b", b"2"),
        ("name=stream", b"false"),
        ("name=\"background\"", b"true"),
        ("name=session_id", b""),
        ("name=metadata", br#"{"k":"v"}"#),
        ("name=file_ids", ids.as_bytes()),
        ("name=files; filename=c", b""),
        ("name=input", br#"{"do":[]}"#),
    ])
    .await;
    assert_eq!(both.status, 202);
    let names: Vec<_> =
        both.json()["data"]["files"].as_array().unwrap().iter().map(|file| file["name"].clone()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(world.files.count(), 3);
    let input: (&str, &[u8]) = ("name=input", br#"{"do":[]}"#);
    let file: (&str, &[u8]) = ("name=files; filename=x", b"x");
    for (parts, details) in [
        (vec![file], "input"),
        (vec![file, ("name=input", b"{")], "input"),
        (vec![file, ("name=input", br#"{"do":1}"#)], "do"),
        (
            vec![file, input, ("name=stream", b"yes"), ("name=background", b"1"), ("name=file_ids", b"x")],
            "background file_ids stream",
        ),
        (vec![file, input, ("name=user_id", b"\xff")], "user_id"),
        (vec![file, input, ("name=file_ids", br#"["0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77"]"#)], "file_ids.0"),
        (std::iter::once(input).chain(std::iter::repeat_n(file, 101)).collect(), "files"),
    ] {
        let answer = post(&parts).await;
        assert_eq!((answer.status.as_u16(), answer.details().join(" ")), (400, details.to_owned()));
    }
    let large = vec![b' '; 5 << 20];
    assert_eq!(post(&[file, ("name=input", &large)]).await.status, 413);
    assert_eq!(world.files.count(), 3, "refused requests leave no files");
}

#[tokio::test]
async fn a_repeat_does_not_keep_its_files_twice() {
    let world = World::new();
    let post = async |content: &[u8]| {
        let request = world.request("POST", "/v1/runs").header("content-type", MULTIPART);
        let body = multipart(&[("name=input", br#"{"do":[]}"#), ("name=files; filename=a", content)]);
        world.send(request.header("idempotency-key", "k").body(Body::from(body)).unwrap()).await
    };
    let first = post(b"x").await;
    let again = post(b"x").await;
    assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"));
    assert_eq!(post(b"y").await.status, 409);
    assert_eq!(world.files.count(), 1);
}

/// A client stalls or disconnects.
#[tokio::test]
async fn an_incomplete_upload_leaves_no_file() {
    let store = Arc::new(Counting::default());
    let config = Config { body_wait: Duration::from_millis(200), ..Config::default() };
    let world = World::on(config, Arc::clone(&store) as _, Arc::default());
    let start = multipart(&[
        ("name=input", br#"{"do":[]}"#),
        ("name=files; filename=a", b"xxxx"),
        ("name=files; filename=b", b"yyyy"),
    ]);
    let start = Bytes::from(start[..start.len() - 12].to_vec());
    for path in ["/v1/runs", "/v1/files"] {
        let stalled =
            stream::once(futures::future::ready(Ok::<_, Infallible>(start.clone()))).chain(stream::pending());
        let request = world.request("POST", path).header("content-type", MULTIPART);
        let answer = world.send(request.body(Body::from_stream(stalled)).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.details()), (408, vec!["body".to_owned()]));

        let broken = stream::iter([Ok(start.clone()), Err(std::io::Error::other("reset"))]);
        let request = world.request("POST", path).header("content-type", MULTIPART);
        assert_eq!(world.send(request.body(Body::from_stream(broken)).unwrap()).await.status, 400);

        let stalled =
            stream::once(futures::future::ready(Ok::<_, Infallible>(start.clone()))).chain(stream::pending());
        let request = world.request("POST", path).header("content-type", MULTIPART);
        let gone = world.open(request.body(Body::from_stream(stalled)).unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(50), gone).await.is_err());
    }
    assert!(store.counts.begun.load(Ordering::Relaxed) >= 3);
    assert_eq!(
        (store.counts.open.load(Ordering::Relaxed), store.counts.finished.load(Ordering::Relaxed)),
        (0, 0)
    );
}

const PIECE: usize = 64 << 10;

/// 128 MiB are uploaded with at most 1 MiB in memory.
#[tokio::test]
async fn a_large_upload_is_not_held_in_memory() {
    let store = Arc::new(Counting::default());
    let world = World::on(Config::default(), Arc::clone(&store) as _, Arc::default());
    let send = async |path: &str, name: &str, pieces: usize| {
        let counts = Arc::clone(&store.counts);
        counts.given.store(0, Ordering::Relaxed);
        counts.taken.store(0, Ordering::Relaxed);
        let head = format!(
            "--B\r\nContent-Disposition: form-data; name=input\r\n\r\n{{\"do\":[]}}\r\n--B\r\nContent-Disposition: form-data; name={name}; filename=x\r\n\r\n"
        );
        let piece = Bytes::from(vec![b'\r'; PIECE]);
        let content = stream::iter(0..pieces).map(move |_| {
            let given = counts.given.fetch_add(PIECE as u64, Ordering::Relaxed) + PIECE as u64;
            counts.max_held.fetch_max(given - counts.taken.load(Ordering::Relaxed), Ordering::Relaxed);
            Ok::<_, Infallible>(piece.clone())
        });
        let body = stream::iter([Ok(Bytes::from(head))])
            .chain(content)
            .chain(stream::iter([Ok(Bytes::from("\r\n--B--\r\n"))]));
        let request = world.request("POST", path).header("content-type", MULTIPART);
        world.send(request.body(Body::from_stream(body)).unwrap()).await
    };
    for (path, name) in [("/v1/files", "file"), ("/v1/runs", "files")] {
        store.counts.max_held.store(0, Ordering::Relaxed);
        let answer = send(path, name, 2047).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(store.counts.taken.load(Ordering::Relaxed), 2047 * PIECE as u64);
        let held = store.counts.max_held.load(Ordering::Relaxed);
        assert!((1..=1 << 20).contains(&held), "{held} bytes were held");
        let more = send(path, name, 2049).await;
        assert_eq!((more.status.as_u16(), more.details()), (413, vec!["body".to_owned()]));
    }
    assert_eq!(
        (store.counts.open.load(Ordering::Relaxed), store.counts.finished.load(Ordering::Relaxed)),
        (0, 2)
    );
}

/// Keeps the metadata of files, and only the length of their content.
#[derive(Default)]
struct Counting {
    counts: Arc<Counts>,
    finished: Arc<MemoryFiles>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    open: AtomicU64,
    finished: AtomicU64,
    given: AtomicU64,
    taken: AtomicU64,
    max_held: AtomicU64,
}

struct CountingUpload {
    counts: Arc<Counts>,
    small: Option<Box<dyn Upload>>,
}

#[async_trait]
impl FileStore for Counting {
    async fn create(&self, file: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        self.counts.begun.fetch_add(1, Ordering::Relaxed);
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        let small = Some(self.finished.create(file).await?);
        Ok(Box::new(CountingUpload { counts: Arc::clone(&self.counts), small }))
    }

    async fn get(&self, app: AppId, id: FileId) -> Result<Option<File>, StoreError> {
        self.finished.get(app, id).await
    }

    async fn open(
        &self,
        app: AppId,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        self.finished.open(app, id).await
    }

    async fn delete(&self, app: AppId, id: FileId) -> Result<(), StoreError> {
        self.finished.delete(app, id).await
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.finished.delete_expired(now, limit).await
    }
}

#[async_trait]
impl Upload for CountingUpload {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        // As on a slow disk, the other pieces must not accumulate.
        tokio::task::yield_now().await;
        self.counts.taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<File, StoreError> {
        self.counts.finished.fetch_add(1, Ordering::Relaxed);
        self.small.take().expect("it is finished once").finish().await
    }
}

impl Drop for CountingUpload {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}
