//! `MultiFileTypeConverter`: converts each file with the converter for its type.

use super::{
    ConvertedDocuments, Converting, FileType, Registered, Sources, detect,
    docx::DocxConverter,
    excel::ExcelConverter,
    html::HtmlConverter,
    pdf::PdfConverter,
    pptx::PptxConverter,
    sources::{self, Source},
    text::TextConverter,
    with_path,
};
use crate::{
    document::{Document, DocumentIds},
    flow::{Call, Halt, Kind, LIMIT_EXCEEDED, NodeError},
    load::{Fields, Loading, build_node},
    nodes::files::{Files, extension},
};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

pub(super) const MULTI_CONVERTER: Registered = Registered {
    class: "converters.MultiFileTypeConverter",
    name: Some("multi-file-type-converter"),
    timeout: Some(Duration::from_mins(10)),
    build: |id, fields, loading| Some(Box::new(MultiConverter::read(id, fields, loading)?)),
};

/// Limit on the files that are converted concurrently: each is in memory as a whole.
const MAX_WORKERS: usize = 4;

/// The part of a file that is checked for its delimiter, in bytes.
const SAMPLE_BYTES: usize = 8192;

/// The classes of converters, and the types of files that they convert.
const TYPES: &[(&str, &[FileType])] = &[
    ("DOCXFileConverter", &[FileType::Document]),
    ("ExcelFileConverter", &[FileType::Spreadsheet]),
    ("HTMLConverter", &[FileType::Html]),
    ("PPTXFileConverter", &[FileType::Presentation]),
    ("PyPDFConverter", &[FileType::Pdf]),
    ("TextFileConverter", &[FileType::Text, FileType::Markdown]),
];

#[derive(Debug)]
struct MultiConverter {
    /// In order of preference.
    converters: Vec<Child>,
    /// For files that no other converter accepts, or that it fails to convert.
    fallback: Option<Child>,
    workers: usize,
}

/// A converter within this one.
#[derive(Debug)]
struct Child {
    id: String,
    class: String,
    kind: Box<dyn Kind>,
    timeout: Option<Duration>,
}

impl MultiConverter {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let items = fields.items("converters", "a converter");
        let children = items.into_iter().enumerate();
        let children =
            children.map(|(index, item)| Child::read(&format!("{id}-converter-{index}"), item, loading));
        let mut converters = children.collect::<Option<Vec<_>>>()?;
        for (class, types) in TYPES {
            if !types.iter().all(|file_type| converters.iter().any(|child| child.converts(*file_type))) {
                converters.extend(Child::with_defaults(class));
            }
        }
        let fallback = match fields.fields("fallback_converter") {
            Some(fallback) => Some(Child::read(&format!("{id}-fallback"), fallback, loading)?),
            None => None,
        };
        // It has no settings.
        fields.get("file_type_extractor");
        let workers = fields.count("max_workers").unwrap_or(u32::MAX) as usize;
        Some(Self { converters, fallback, workers: workers.clamp(1, MAX_WORKERS) })
    }

    /// The converter for a file, if it exists.
    fn of(&self, name: &str, file_type: Option<FileType>, is_archive: bool) -> Option<&Child> {
        let extension = extension(name);
        let is_table = matches!(extension.as_deref(), Some("csv" | "tsv"));
        let csv = self.converters.iter().find(|child| child.class == "CSVConverter");
        if let Some(csv) = csv
            && (is_table || (file_type == Some(FileType::Spreadsheet) && !is_archive))
        {
            return Some(csv);
        }
        self.converters.iter().find(|child| file_type.is_some_and(|file_type| child.converts(file_type)))
    }

    async fn convert(&self, call: Call<'_>, index: usize, source: Source<'_>) -> Result<Vec<Document>, Halt> {
        let key = format!("{}{index}/", call.within());
        let call = Call { key: &key, ..call };
        let (name, file) = source.named(index);
        let failed = |problem: &str| {
            NodeError::new("ValueError", format!("`{name}` cannot be converted: {problem}")).into()
        };
        let detected = Detected::of(call, &name, &source).await?;
        let file_type = detected.file_type;
        let input = |child: &Child| {
            let mut input = json!({"files": [file], "metadata": [source.metadata()]});
            if child.class == "CSVConverter" {
                input["delimiter"] = detected.delimiter.to_string().into();
            }
            input
        };
        let mut problem = format!(
            "no converter accepts files of its type ({})",
            file_type.map_or("unknown", FileType::name)
        );
        if let Some(child) = self.of(&name, file_type, detected.is_archive) {
            match child.convert(call, input(child)).await {
                Ok(documents) => return Ok(with_file_type(documents, &name, file_type, child)),
                Err(Halt::Failed(error)) if error.kind != LIMIT_EXCEEDED => problem = error.message,
                Err(halt) => return Err(halt),
            }
        }
        let Some(child) = &self.fallback else { return Err(failed(&problem)) };
        match child.convert(call, input(child)).await {
            Ok(documents) => Ok(with_file_type(documents, &name, None, child)),
            Err(Halt::Failed(error)) if error.kind != LIMIT_EXCEEDED => Err(failed(&error.message)),
            Err(halt) => Err(halt),
        }
    }
}

/// What is detected of a file before it is converted.
struct Detected {
    file_type: Option<FileType>,
    is_archive: bool,
    delimiter: char,
}

impl Detected {
    async fn of(call: Call<'_>, name: &str, source: &Source<'_>) -> Result<Self, NodeError> {
        let by_name = detect(name, &[]);
        if by_name.is_some_and(|file_type| file_type != FileType::Spreadsheet) {
            return Ok(Self { file_type: by_name, is_archive: false, delimiter: ',' });
        }
        // Held as long as the file is in memory.
        let _turn = Files::of(call).turn(source.size(call)).await?;
        let content = source.content(call).await?.bytes;
        Ok(Self {
            file_type: by_name.or_else(|| detect(name, &content)),
            is_archive: content.starts_with(b"PK"),
            delimiter: delimiter(&content),
        })
    }
}

impl Child {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let id = fields.text("id").unwrap_or(id).to_owned();
        let spec = build_node(&id, fields, loading)?;
        let class = spec.type_path.rsplit('.').next().unwrap_or_default().to_owned();
        Some(Self { id, class, kind: spec.kind, timeout: spec.errors.timeout })
    }

    /// A default converter, which the workflow file does not name.
    fn with_defaults(class: &str) -> Option<Self> {
        let kind = match class {
            "DOCXFileConverter" => Converting::boxed(DocxConverter::by_file()),
            "ExcelFileConverter" => Converting::boxed(ExcelConverter::by_file()),
            "HTMLConverter" => Converting::boxed(HtmlConverter),
            "PPTXFileConverter" => Converting::boxed(PptxConverter::by_file()),
            "PyPDFConverter" => Converting::boxed(PdfConverter::by_file()),
            "TextFileConverter" => Converting::boxed(TextConverter),
            _ => return None,
        };
        Some(Self { id: class.to_owned(), class: class.to_owned(), kind, timeout: super::TIMEOUT })
    }

    fn converts(&self, file_type: FileType) -> bool {
        TYPES.iter().any(|(class, types)| *class == self.class && types.contains(&file_type))
    }

    async fn convert(&self, call: Call<'_>, input: Value) -> Result<Vec<Document>, Halt> {
        let key = format!("{}{}", call.key, self.id);
        let call = Call { key: &key, ..call };
        let input = self.kind.admit(Arc::new(input))?;
        let work = self.kind.execute(call, &input);
        let output = match self.timeout {
            Some(limit) => tokio::time::timeout(limit, work)
                .await
                .unwrap_or_else(|_| Err(NodeError::new("TimeoutError", "the conversion timed out").into()))?,
            None => work.await?,
        };
        // Some converters return documents without ids.
        let ids = DocumentIds::new(Call { key: &format!("{key}/document"), ..call });
        let given = output["documents"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut documents = Document::read_list(output.get("documents"))?;
        for (document, given) in documents.iter_mut().zip(given) {
            if given.get("id").is_none() {
                document.id = Some(ids.next());
            }
        }
        Ok(documents)
    }
}

/// Adds the type of the file to the metadata of documents, so that a splitter need not detect it.
fn with_file_type(
    documents: Vec<Document>,
    name: &str,
    file_type: Option<FileType>,
    child: &Child,
) -> Vec<Document> {
    let with_file_type = |document: Document| {
        let mut metadata = with_path(document.metadata.unwrap_or_default(), name);
        let content = content_type(child, file_type, &metadata);
        let mut set = |key: &str, value: &str| {
            metadata.entry(key).or_insert_with(|| value.into());
        };
        set("filename", name);
        if let Some(extension) = extension(name) {
            set("extension", &extension);
        }
        set("file_type", content);
        if let Some(file_type) = file_type {
            set("source_file_type", file_type.name());
        }
        Document { metadata: Some(metadata), ..document }
    };
    documents.into_iter().map(with_file_type).collect()
}

/// The type of a document's content, which may differ from the file's.
fn content_type(child: &Child, file_type: Option<FileType>, metadata: &Map<String, Value>) -> &'static str {
    match child.class.as_str() {
        "CSVConverter" => "csv",
        "ExcelFileConverter" if metadata.get("document_type").is_some_and(|it| it == "table_row") => "text",
        "ExcelFileConverter" | "DOCXFileConverter" | "HTMLConverter" => "markdown",
        "TextFileConverter" if file_type == Some(FileType::Markdown) => "markdown",
        _ => "text",
    }
}

/// The character that divides at least 80 % of the lines into as many cells as the first; `,` if there is none.
fn delimiter(content: &[u8]) -> char {
    let sample = String::from_utf8_lossy(&content[..content.len().min(SAMPLE_BYTES)]);
    // The last line may be truncated.
    let lines: Vec<&str> = sample.lines().filter(|line| !line.is_empty()).take(20).collect();
    let divides = |delimiter: &char| {
        let counts: Vec<usize> = lines.iter().map(|line| line.matches(*delimiter).count()).collect();
        let first = counts.first().copied().unwrap_or(0);
        first > 0 && counts.iter().filter(|count| **count == first).count() * 5 >= counts.len() * 4
    };
    [',', '\t', ';', '|'].into_iter().find(divides).unwrap_or(',')
}

#[async_trait]
impl Kind for MultiConverter {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let sources = Sources::of(call, input)?.collect::<Result<Vec<_>, _>>()?.into_iter().enumerate();
        let work: Vec<_> = sources.map(|(index, source)| self.convert(call, index, source)).collect();
        let mut work = std::pin::pin!(stream::iter(work).buffered(self.workers));
        let mut made = ConvertedDocuments::default();
        while let Some(documents) = work.next().await {
            made.add(Document::list(documents?))?;
        }
        made.output()
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        sources::admit(&input)
    }
}
