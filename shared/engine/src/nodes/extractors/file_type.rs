//! `FileTypeExtractor`: detects the type of a file by the extension of its name, or else by its content.

use super::{InputCheck, Registered, TEXT};
use crate::{
    csv,
    flow::{Call, Halt, Kind, NodeError},
    nodes::{
        admit::Check,
        files::{FILE_OR_TEXT, Files},
    },
};
use async_trait::async_trait;
use fancy_regex::Regex;
use serde_json::{Value, json};
use std::{
    io::{Cursor, Read},
    sync::{Arc, LazyLock},
};
use zip::ZipArchive;

pub(super) const FILE_TYPE_EXTRACTOR: Registered = Registered {
    class: "extractors.FileTypeExtractor",
    name: Some("file-type-extractor"),
    timeout: None,
    build: |_, _, _| Some(Box::new(FileTypeExtractor)),
};

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nodes) enum FileType {
    Archive,
    Audio,
    Database,
    Document,
    Ebook,
    Executable,
    Font,
    Html,
    Image,
    Markdown,
    Pdf,
    Presentation,
    Spreadsheet,
    Text,
    Video,
}

#[rustfmt::skip]
const TYPES: &[(FileType, &str, &[&str])] = &[
    (FileType::Archive, "archive", &[
        "zip", "rar", "tar", "7z", "gz", "bz2", "xz", "lz", "lz4", "lzo", "zstd", "zst", "z", "cab", "deb", "ar", "rpm",
        "br", "dcm", "ps", "crx",
    ]),
    (FileType::Audio, "audio", &["mp3", "wav", "flac", "m4a", "aac", "ogg", "mid", "amr", "aiff"]),
    (FileType::Database, "database", &["sqlite"]),
    (FileType::Document, "document", &["doc", "docx", "odt", "rtf"]),
    (FileType::Ebook, "ebook", &["epub"]),
    (FileType::Executable, "executable", &["exe"]),
    (FileType::Font, "font", &["woff", "woff2", "ttf", "otf"]),
    (FileType::Html, "html", &["html", "htm", "xhtml"]),
    (FileType::Image, "image", &[
        "png", "jpg", "jpeg", "gif", "bmp", "webp", "tiff", "tif", "svg", "dwg", "xcf", "jpx", "apng", "cr2", "jxr",
        "psd", "ico", "heic", "avif",
    ]),
    (FileType::Markdown, "markdown", &["md", "markdown"]),
    (FileType::Pdf, "pdf", &["pdf"]),
    (FileType::Presentation, "presentation", &["ppt", "pptx", "odp"]),
    (FileType::Spreadsheet, "spreadsheet", &["xlsx", "csv", "tsv"]),
    (FileType::Text, "text", &["txt", "json", "xml", "yaml", "yml", "log", "rst"]),
    (FileType::Video, "video", &["mp4", "mkv", "avi", "mov", "wmv", "webm", "3gp", "m4v", "mpg", "flv"]),
];

/// Extensions of spreadsheets that the engine cannot read.
const UNSUPPORTED_EXTENSIONS: &[&str] = &["xls", "ods"];

/// Signatures of files: offset, bytes, and the extension of such files.
#[rustfmt::skip]
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"%PDF-", "pdf"), (0, b"\x89PNG\r\n\x1a\n", "png"), (0, b"\xff\xd8\xff", "jpg"), (0, b"GIF8", "gif"),
    (0, b"BM", "bmp"), (0, b"II*\0", "tif"), (0, b"MM\0*", "tif"), (0, b"8BPS", "psd"), (0, b"\0\0\x01\0", "ico"),
    (8, b"WEBP", "webp"), (8, b"WAVE", "wav"), (8, b"AVI ", "avi"), (4, b"ftypheic", "heic"), (4, b"ftypavif", "avif"),
    (4, b"ftypM4A", "m4a"), (4, b"ftypqt", "mov"), (4, b"ftyp3gp", "3gp"), (4, b"ftyp", "mp4"), (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"), (0, b"\xff\xfb", "mp3"), (0, b"OggS", "ogg"), (0, b"MThd", "mid"), (0, b"#!AMR", "amr"),
    (0, b"\x1aE\xdf\xa3", "mkv"), (0, b"FLV\x01", "flv"), (0, b"\0\0\x01\xba", "mpg"), (0, b"{\\rtf", "rtf"),
    (0, b"\x1f\x8b", "gz"), (0, b"BZh", "bz2"), (0, b"\xfd7zXZ\0", "xz"), (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"), (257, b"ustar", "tar"), (0, b"\x28\xb5\x2f\xfd", "zst"), (0, b"MSCF", "cab"),
    (0, b"!<arch>", "ar"), (0, b"\xed\xab\xee\xdb", "rpm"), (0, b"%!PS", "ps"), (0, b"wOFF", "woff"),
    (0, b"wOF2", "woff2"), (0, b"\0\x01\0\0\0", "ttf"), (0, b"OTTO\0", "otf"), (0, b"MZ", "exe"),
    (0, b"SQLite format 3\0", "sqlite"),
];

/// The part of the content that is checked, in bytes.
const SAMPLE_BYTES: usize = 8192;

/// Limit on the files of an archive whose list is read.
const MAX_ENTRIES: usize = 10_000;

/// Limit on the lists of files of such an archive.
const MAX_LISTS: usize = 4;

const FILE: Check = Check::new("a file", FILE_OR_TEXT.read);

impl FileType {
    pub(in crate::nodes) fn name(self) -> &'static str {
        TYPES.iter().find(|(file_type, ..)| *file_type == self).map_or("", |(_, name, _)| name)
    }

    fn of_extension(extension: &str) -> Option<Self> {
        let known = |extensions: &[&str]| extensions.contains(&extension);
        TYPES.iter().find(|(.., extensions)| known(extensions)).map(|(file_type, ..)| *file_type)
    }
}

#[derive(Debug)]
struct FileTypeExtractor;

#[async_trait]
impl Kind for FileTypeExtractor {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let files = Files::of(call);
        let file = Some(&input["file"]).filter(|file| !file.is_null());
        let file_name = file.and_then(|file| files.name(file));
        let name = file_name.as_deref().or(input["filename"].as_str()).unwrap_or_default();
        let Some(file) = file else {
            return Ok(Arc::new(json!({"type": detect(name, &[]).map(FileType::name)})));
        };
        // Held as long as the file is in memory.
        let _turn = files.turn(files.size(file)).await?;
        let content = files.read(file).await?;
        Ok(Arc::new(json!({"type": detect(name, &content.bytes).map(FileType::name)})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a FileTypeExtractor")?;
        input.optional("file", FILE)?;
        match input.given("filename") {
            Some(_) => input.optional("filename", TEXT)?,
            None => input.set("filename", "".into()),
        }
        Ok(input.done())
    }
}

/// The type of a file, if it is known.
pub(in crate::nodes) fn detect(name: &str, bytes: &[u8]) -> Option<FileType> {
    if let Some((_, extension)) = name.rsplit_once('.') {
        let extension = extension.to_lowercase();
        if UNSUPPORTED_EXTENSIONS.contains(&extension.as_str()) {
            return None;
        }
        if let Some(file_type) = FileType::of_extension(&extension) {
            return Some(file_type);
        }
    }
    if bytes.starts_with(b"PK") {
        return of_archive(bytes);
    }
    match signature(bytes) {
        Some(extension) => FileType::of_extension(extension),
        None => of_text(&bytes[..bytes.len().min(SAMPLE_BYTES)]),
    }
}

/// The usual extension of files with such a content.
pub(in crate::nodes) fn extension(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"PK") {
        return Some(match of_archive(bytes)? {
            FileType::Document => "docx",
            FileType::Ebook => "epub",
            FileType::Presentation => "pptx",
            FileType::Spreadsheet => "xlsx",
            _ => "zip",
        });
    }
    signature(bytes)
}

fn signature(bytes: &[u8]) -> Option<&'static str> {
    let has_signature = |(offset, signature, _): &&(usize, &[u8], &str)| {
        bytes.get(*offset..).is_some_and(|rest| rest.starts_with(signature))
    };
    SIGNATURES.iter().find(has_signature).map(|(.., extension)| *extension)
}

/// Whether an archive has few enough files and lists to be read: the list is read once for each end-of-list record.
fn is_listable(bytes: &[u8]) -> bool {
    let count = |signature: &[u8], max: usize| {
        bytes.windows(4).filter(|window| *window == signature).take(max + 1).count() <= max
    };
    count(b"PK\x01\x02", MAX_ENTRIES) && count(b"PK\x05\x06", MAX_LISTS) && count(b"PK\x06\x06", MAX_LISTS)
}

/// Office files and e-books are archives, which their declaration or their folders distinguish.
fn of_archive(bytes: &[u8]) -> Option<FileType> {
    if !is_listable(bytes) {
        return Some(FileType::Archive);
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut declared = String::new();
    if let Ok(file) = archive.by_name("mimetype") {
        // A declaration that is not text is ignored.
        let _ = file.take(SAMPLE_BYTES as u64).read_to_string(&mut declared);
    }
    match declared.trim() {
        "application/epub+zip" => return Some(FileType::Ebook),
        "application/vnd.oasis.opendocument.text" => return Some(FileType::Document),
        "application/vnd.oasis.opendocument.presentation" => return Some(FileType::Presentation),
        "application/vnd.oasis.opendocument.spreadsheet" => return None,
        _ => {}
    }
    let folders =
        [("word/", FileType::Document), ("ppt/", FileType::Presentation), ("xl/", FileType::Spreadsheet)];
    let has = |folder: &str| archive.file_names().any(|name| name.is_ok_and(|name| name.starts_with(folder)));
    let found = folders.into_iter().find(|(folder, _)| has(folder));
    Some(found.map_or(FileType::Archive, |(_, file_type)| file_type))
}

fn of_text(sample: &[u8]) -> Option<FileType> {
    let text = readable(sample).filter(|text| !text.trim().is_empty())?;
    let start = text.trim_start().to_ascii_lowercase();
    let after_declaration = match start.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").map_or("", |(_, rest)| rest.trim_start()),
        None => &start,
    };
    let is_html = ["<!doctype html", "<html"].into_iter().any(|opening| {
        let rest = after_declaration.strip_prefix(opening);
        rest.is_some_and(|rest| rest.starts_with(|next: char| next.is_whitespace() || "/>".contains(next)))
    });
    if is_html {
        Some(FileType::Html)
    } else if is_markdown(&text) {
        Some(FileType::Markdown)
    } else if csv::table_delimiter(text.trim_start_matches('\u{feff}')).is_some() {
        Some(FileType::Spreadsheet)
    } else {
        Some(FileType::Text)
    }
}

/// Decodes the sample, if it is text: without control characters. It may end within a character of UTF-8, or have
/// single bytes of an older encoding.
fn readable(sample: &[u8]) -> Option<String> {
    let is_control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    (!sample.iter().any(is_control)).then(|| String::from_utf8_lossy(sample).into_owned())
}

/// Whether a text has any Markdown syntax: headings, fences, quotes, lists, rules, emphasis, code, links.
fn is_markdown(text: &str) -> bool {
    static LINES: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let line = r"(?m)^(?:#{1,6}\s+.|\s*(?:```|~~~)[\w-]*\s*$|\s*>+\s+.|\s*(?:[-*+]|\d+\.)\s+.|(?:-{3,}|\*{3,}|_{3,})\s*$)";
        Regex::new(line).ok()
    });
    static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let emphasis =
            r"\*\*[^*\n]+\*\*|__[^_\n]+__|(?<!\*)\*[^*\n]+\*(?!\*)|(?<!_)_[^_\n]+_(?!_)|~~[^~\n]+~~";
        Regex::new(&format!(r"{emphasis}|`[^`\n]+`|\[[^\]]+\]\([^)]+\)|!\[[^\]]*\]\([^)]+\)")).ok()
    });
    let found =
        |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|it| it.is_match(text).unwrap_or(false));
    found(&LINES) || found(&WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_read_archives_of_too_many_files() {
        let entry = b"PK\x01\x02";
        assert!(is_listable(&entry.repeat(MAX_ENTRIES)) && !is_listable(&entry.repeat(MAX_ENTRIES + 1)));
        assert!(!is_listable(&b"PK\x05\x06".repeat(MAX_LISTS + 1)));
        assert_eq!(detect("", &entry.repeat(MAX_ENTRIES + 1)), Some(FileType::Archive));
    }

    #[test]
    fn detects_by_name_then_by_content() {
        for (name, bytes, expected) in [
            ("a.PDF", &b"x"[..], Some(FileType::Pdf)),
            ("a.tar.Z", b"", Some(FileType::Archive)),
            ("a.xls", b"a,b\n1,2", None),
            ("a.unknown", b"%PDF-1.4", Some(FileType::Pdf)),
            ("", b" <!DOCTYPE html><p>", Some(FileType::Html)),
            ("", b"<?xml version='1.0'?>\n<html>", Some(FileType::Html)),
            ("", b"<htmlx>", Some(FileType::Text)),
            ("", b"# Title\ntext", Some(FileType::Markdown)),
            ("", b"see [this](there)", Some(FileType::Markdown)),
            ("", b"a,b\n1,2\n", Some(FileType::Spreadsheet)),
            ("", b"plain", Some(FileType::Text)),
            ("", b"\x00\x01", None),
            ("", b"PK but no archive", None),
            ("", b"", None),
        ] {
            assert_eq!(detect(name, bytes), expected, "{name} {bytes:?}");
        }
    }
}
