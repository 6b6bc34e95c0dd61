//! Nodes that read files and make documents: the sources of files, hostile files, and replays.

mod support;

use serde_json::{Value, json};
use std::io::{Cursor, Write as _};
use support::Case;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use zip::{ZipWriter, write::SimpleFileOptions};

/// A case with one node of this type and these additional fields.
fn node(class: &str, fields: &str) -> Case {
    Case::text(&format!(
        "nodes:\n  it: {{type: dynamiq.nodes.{class}{fields}}}\nflows: {{f: {{nodes: [it]}}}}\nworkflows: {{w: {{flow: f}}}}"
    ))
}

/// The node's output, or the type of its error.
async fn outcome(case: &Case) -> Result<Value, String> {
    let result = &case.run().await["output"]["it"];
    match result["error"]["type"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(result["output"].clone()),
    }
}

fn contents(output: &Value) -> Vec<&str> {
    let documents = output["documents"].as_array().expect("documents");
    documents.iter().map(|document| document["content"].as_str().expect("text")).collect()
}

const CONVERTERS: &[&str] = &[
    "CSVConverter",
    "DOCXFileConverter",
    "ExcelFileConverter",
    "HTMLConverter",
    "MultiFileTypeConverter",
    "PPTXFileConverter",
    "PyPDFConverter",
    "TextFileConverter",
];

#[tokio::test]
async fn files_come_from_the_run_or_the_input() {
    let text = || node("converters.TextFileConverter", "").file("a.txt", "one").file("b.txt", "two");
    // Without `files` in the input, the files of the run are used.
    assert_eq!(contents(&outcome(&text()).await.expect("documents")), ["one", "two"]);

    let (first, second) = ("00000000-0000-0000-0000-000000000064", "00000000-0000-0000-0000-000000000065");
    let files = json!([
        second,
        {"id": first, "name": "renamed.txt"},
        {"name": "inline.txt", "content": "three"},
        {"name": "encoded.txt", "base64": "Zm91cg=="},
    ]);
    let output = outcome(&text().input(json!({"files": files}))).await.expect("documents");
    assert_eq!(contents(&output), ["two", "one", "three", "four"]);
    let paths: Vec<&Value> = output["documents"]
        .as_array()
        .expect("documents")
        .iter()
        .map(|document| &document["metadata"]["file_path"])
        .collect();
    assert_eq!(paths, ["b.txt", "renamed.txt", "inline.txt", "encoded.txt"]);

    let paths = json!({"file_paths": ["/anywhere/b.txt", "/anywhere/c.txt"], "files": []});
    let output = outcome(&text().input(paths)).await.expect("documents");
    assert_eq!(contents(&output), ["two"]);
    assert_eq!(output["documents"][0]["metadata"]["file_path"], "/anywhere/b.txt");
}

#[tokio::test]
async fn files_that_are_not_the_runs_are_refused() {
    let stranger = "00000000-0000-0000-0000-0000000000ff";
    for (input, error) in [
        (json!({"files": [stranger]}), "FileNotFoundError"),
        (json!({"files": [{"id": stranger}]}), "FileNotFoundError"),
        (json!({"file_paths": ["/etc/hostname"]}), "FileNotFoundError"),
        (json!({"files": [5]}), "ValidationError"),
        (json!({"files": [{"name": "a", "base64": "?"}]}), "ValueError"),
        (json!({"files": ["no name"]}), "ValueError"),
        (json!({}), "ValidationError"),
    ] {
        let case = node("converters.TextFileConverter", "").input(input.clone());
        assert_eq!(outcome(&case).await, Err(error.to_owned()), "{input}");
    }
}

#[tokio::test]
async fn ids_are_derived_from_run_node_and_position() {
    let case = || node("converters.TextFileConverter", "").file("a.txt", "one").file("b.txt", "one");
    let first = outcome(&case()).await.expect("documents");
    assert_eq!(outcome(&case()).await.expect("documents"), first);
    let id = |index: usize| first["documents"][index]["id"].as_str().expect("an id");
    assert_ne!(id(0), id(1));
    assert!(id(0).len() == 32 && id(0).bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", id(0));
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).expect("an entry");
        zip.write_all(content).expect("content");
    }
    zip.finish().expect("an archive").into_inner()
}

#[tokio::test]
async fn archives_that_unpack_to_too_much_fail_their_node() {
    let much = vec![b' '; 129 << 20];
    let word = archive(&[("word/document.xml", &much)]);
    assert!(word.len() < 1 << 20, "{}", word.len());
    let case = node("converters.DOCXFileConverter", "").file("a.docx", word);
    assert_eq!(outcome(&case).await, Err("LimitExceededError".to_owned()));
    let book = archive(&[("xl/workbook.xml", b"<workbook/>"), ("xl/other.bin", &much)]);
    let case = node("converters.ExcelFileConverter", "").file("a.xlsx", book);
    assert_eq!(outcome(&case).await, Err("LimitExceededError".to_owned()));
}

/// A workbook of one sheet.
fn workbook(sheet: &str) -> Vec<u8> {
    archive(&[
        (
            "_rels/.rels",
            br#"<Relationships><Relationship Id="rId1" Target="xl/workbook.xml"
                Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>"#,
        ),
        (
            "xl/workbook.xml",
            br#"<workbook xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">
                <sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>"#,
        ),
        (
            "xl/_rels/workbook.xml.rels",
            br#"<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"
                Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"/></Relationships>"#,
        ),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

#[tokio::test]
async fn a_distant_cell_takes_no_memory() {
    let sheet = r#"<worksheet><sheetData><row r="1"><c r="A1"><v>1</v></c></row>
        <row r="1048576"><c r="XFD1048576"><v>2</v></c></row></sheetData></worksheet>"#;
    let book = workbook(sheet);
    let case = node("converters.ExcelFileConverter", ", workbook_document_creation_mode: one-doc-per-row")
        .file("far.xlsx", book);
    let output = outcome(&case).await.expect("documents");
    assert_eq!(contents(&output), ["Sheet: S\ncolumn_16384: 2"]);
}

/// Small files with very large results: rows as wide as the widest one, labels for each cell, metadata in each
/// document.
#[tokio::test]
async fn small_files_with_huge_results_fail_their_node() {
    let cells = "<c><v>1</v></c>".repeat(16_384);
    let rows = "<row><c><v>1</v></c></row>".repeat(8_000);
    let wide = workbook(&format!("<worksheet><sheetData><row>{cells}</row>{rows}</sheetData></worksheet>"));
    assert!(wide.len() < 16 << 10, "{}", wide.len());
    let far = workbook(
        r#"<worksheet><sheetData><row r="1"><c r="XFD1"><v>1</v></c></row><row r="1048576"><c r="A1048576"><v>1</v></c></row></sheetData></worksheet>"#,
    );
    let label = format!("{}\n{}", "x".repeat(100_000), "1\n".repeat(10_000));
    let many = format!("a,b\n{}", "1,2\n".repeat(200_000));
    let note = json!({"note": "x".repeat(10_000)});
    let file = |name: &str, class: &str, content: Vec<u8>| node(class, "").file(name, content);
    let id = "00000000-0000-0000-0000-000000000064";
    let list = |content: &Vec<u8>| {
        file("a.xlsx", "transformers.ExcelToList", content.clone()).input(json!({"value": id}))
    };
    for (name, case) in [
        ("wide", file("a.xlsx", "converters.ExcelFileConverter", wide.clone())),
        ("wide list", list(&wide)),
        ("far list", list(&far)),
        ("label", file("a.csv", "converters.CSVConverter", label.into())),
        ("many", file("a.csv", "converters.CSVConverter", many.into())),
        (
            "wide rows",
            node("transformers.CSVToList", "")
                .input(json!({"value": format!("{}\n{}", (0..2_000).fold(String::new(), |text, n| format!("{text}a{n},")), "1\n".repeat(5_000))})),
        ),
        (
            "columns",
            node("transformers.JSONToCSV", "").input(json!({"value": format!(
                "[{{{}\"z\": 1}}{}]",
                (0..40_000).fold(String::new(), |text, n| format!("{text}\"c{n}\": 1, ")),
                ", {}".repeat(4_000)
            )})),
        ),
        (
            "values",
            node("transformers.JSONToAny", "")
                .input(json!({"value": format!("[{}0]", "0,".repeat(1_000_000))})),
        ),
        (
            "metadata of texts",
            node("transformers.TextToDynamiqDocument", "")
                .input(json!({"texts": vec!["x"; 10_000], "metadata": note})),
        ),
        (
            "metadata of parts",
            node("splitters.DocumentSplitter", "")
                .input(json!({"documents": [{"content": "x\n\n".repeat(50_000), "metadata": note}]})),
        ),
        (
            "one file again and again",
            node("converters.TextFileConverter", "")
                .file("a.txt", vec![b'x'; 2 << 20])
                .input(json!({"files": vec![id; 100]})),
        ),
    ] {
        assert_eq!(outcome(&case).await, Err("LimitExceededError".to_owned()), "{name}");
    }
}

#[tokio::test]
async fn deeply_nested_files_fail_their_node() {
    let deep = "<div>".repeat(1_000_000);
    let case = node("converters.HTMLConverter", "").file("a.html", deep.clone());
    assert_eq!(outcome(&case).await, Err("LimitExceededError".to_owned()));
    let case = node("splitters.HTMLSectionSplitter", "").input(json!({"documents": [{"content": deep}]}));
    assert_eq!(outcome(&case).await, Err("LimitExceededError".to_owned()));
    let word = archive(&[("word/document.xml", "<a>".repeat(1_000_000).as_bytes())]);
    let case = node("converters.DOCXFileConverter", "").file("a.docx", word);
    assert_eq!(outcome(&case).await, Err("LimitExceededError".to_owned()));
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read() {
    let case = node("converters.TextFileConverter", "").file("a.txt", vec![b'x'; (32 << 20) + 1]);
    assert_eq!(outcome(&case).await, Err("LimitExceededError".to_owned()));
}

/// A node fails on a broken file, or extracts what is readable.
#[tokio::test]
async fn broken_files_are_handled() {
    let files = ["report.docx", "slides.pptx", "book.xlsx", "two.pdf", "page.html", "people.csv"];
    for file in files {
        let whole = std::fs::read(support::shared(&format!("dynamiq/files/{file}"))).expect("a file");
        for part in 0..8 {
            let mut broken = whole[..whole.len() * (part + 1) / 9].to_vec();
            for index in (part..whole.len()).step_by(97 + part) {
                if let Some(byte) = broken.get_mut(index) {
                    *byte ^= 0x55;
                }
            }
            for bytes in [&broken, &whole[..whole.len() * part / 8].to_vec()] {
                for converter in CONVERTERS {
                    let case = node(&format!("converters.{converter}"), "").file(file, bytes.clone());
                    let outcome = outcome(&case).await;
                    assert_ne!(
                        outcome,
                        Err("RuntimeError".to_owned()),
                        "{converter} panics on {file}, {part}"
                    );
                }
            }
        }
    }
}

/// Starts a server that answers each request with `answer`; returns its URL, and the received requests.
async fn server(answer: Value) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = Vec::new();
            // The closing line of the form ends the request.
            while !request.ends_with(b"--\r\n") {
                let read = connection.read_buf(&mut request).await.expect("a request");
                assert!(read > 0, "the request ends early");
            }
            let body = answer.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            connection.write_all((head + &body).as_bytes()).await.expect("an answer");
            let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
        }
    });
    (url, receiver)
}

#[tokio::test]
async fn unstructured_is_called_once() {
    let elements = json!([
        {"type": "Title", "text": "Head", "metadata": {"page_number": 1, "filename": "a.xyz"}},
        {"type": "NarrativeText", "text": "Body", "metadata": {"page_number": 2}},
    ]);
    let (url, mut requests) = server(elements).await;
    let case = |mode: &str| {
        let fields = format!(
            ", document_creation_mode: {mode}, strategy: fast, unstructured_kwargs: {{languages: [eng]}}, \
             connection: {{type: dynamiq.connections.Unstructured, url: '{url}/', api_key: secret}}"
        );
        node("converters.UnstructuredFileConverter", &fields).file("a.xyz", "content")
    };
    let first = case("one-doc-per-file");
    let output = outcome(&first).await.expect("documents");
    assert_eq!(contents(&output), ["Head\n\nBody"]);
    let request = requests.recv().await.expect("a request");
    for part in [
        "POST /general/v0/general HTTP/1.1",
        "unstructured-api-key: secret",
        "name=\"strategy\"\r\n\r\nfast",
        "name=\"languages[]\"\r\n\r\neng",
        "filename=\"a.xyz\"",
        "\r\n\r\ncontent\r\n",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }

    let pages = outcome(&case("one-doc-per-page")).await.expect("documents");
    assert_eq!(contents(&pages), ["Head\n\n", "Body\n\n"]);
    assert_eq!(pages["documents"][1]["metadata"], json!({"file_path": "a.xyz", "page_number": 2}));
    let elements = outcome(&case("one-doc-per-element")).await.expect("documents");
    assert_eq!(elements["documents"][1]["metadata"]["element_index"], 1);
    assert!(requests.recv().await.is_some() && requests.recv().await.is_some());

    // The response was recorded before the node ended: a worker that takes over the run does not repeat the call.
    let recorded_calls: Vec<_> =
        first.events().into_iter().filter(|logged| logged.key.as_deref() == Some("it/file/0")).collect();
    assert_eq!(recorded_calls.len(), 1);
    let again = case("one-doc-per-file").journal(recorded_calls);
    assert_eq!(outcome(&again).await.expect("documents"), output);
    assert!(requests.try_recv().is_err(), "the call was repeated");
}
