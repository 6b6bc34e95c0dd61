//! Reads one of an agent's files.

use crate::{
    flow::NodeError,
    nodes::agents::{BuiltInTool, Work, Workspace, failed},
};
use serde_json::{Map, Value, json};

/// Characters of a text that are returned, except with `mode` "full".
const CHUNK_CHARACTERS: usize = 10_000;
/// Characters of a text that are returned with `mode` "summary".
const PREVIEW_CHARACTERS: usize = 1_000;

pub(in super::super) const FILE_READ: BuiltInTool = BuiltInTool {
    class: "tools.FileReadTool",
    name: "file-read",
    description: "Reads a file by its path. Give `start_line` and `end_line` for a part of a text; `mode` \"full\" for \
                  all of a long one, \"summary\" for its beginning.",
    parameters: || {
        let line = |what: &str| json!({"type": ["integer", "null"], "minimum": 1, "description": what});
        json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The file's path."},
                "mode": {
                    "type": "string",
                    "enum": ["auto", "full", "chunked", "summary"],
                    "description": "How much of it is given; \"auto\" by default: all, unless it is long.",
                },
                "start_line": line("The first line to give, from 1."),
                "end_line": line("The last line to give."),
                "brief": {"type": "string", "description": "A few words on what this call does."},
            },
            "required": ["file_path"],
        })
    },
    parallel: true,
    work: Work::Short(|desk, input| read(desk, input)),
};

fn read(desk: &Workspace, input: &Map<String, Value>) -> Result<Value, NodeError> {
    let path = input.get("file_path").and_then(Value::as_str).unwrap_or_default();
    let Some(file) = desk.get(path) else {
        let known: Vec<&str> = desk.files().map(|(path, _)| path).collect();
        let known = if known.is_empty() {
            "there are no files".to_owned()
        } else {
            format!("the files are: {}", known.join(", "))
        };
        return Err(failed(format!("the file '{path}' does not exist; {known}")));
    };
    let Some(text) = file.text() else {
        let content =
            format!("'{path}' is not a text file: {} bytes of {}", file.content.len(), file.mime_type);
        return Ok(json!({"content": content}));
    };
    let line = |key: &str| input.get(key).and_then(Value::as_u64).and_then(|line| usize::try_from(line).ok());
    let (start, end) = (line("start_line"), line("end_line"));
    if start.is_some() || end.is_some() {
        return lines(path, text, start.unwrap_or(1), end);
    }
    let mode = input.get("mode").and_then(Value::as_str).unwrap_or("auto");
    let length = text.chars().count();
    let content = match mode {
        "summary" if length > PREVIEW_CHARACTERS => {
            format!(
                "The first {PREVIEW_CHARACTERS} of {length} characters of '{path}':\n{}",
                first(text, PREVIEW_CHARACTERS)
            )
        }
        "chunked" | "auto" if length > CHUNK_CHARACTERS => format!(
            "The first {CHUNK_CHARACTERS} of {length} characters of '{path}' ({} lines); ask for lines or mode \"full\":\n{}",
            text.lines().count(),
            first(text, CHUNK_CHARACTERS)
        ),
        _ => text.to_owned(),
    };
    Ok(json!({"content": content}))
}

fn first(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

fn lines(path: &str, text: &str, start: usize, end: Option<usize>) -> Result<Value, NodeError> {
    let lines: Vec<&str> = text.lines().collect();
    let last = end.unwrap_or(lines.len()).min(lines.len());
    if start == 0 || end.is_some_and(|end| end < start) {
        return Err(failed("`start_line` must be at least 1, and `end_line` not less than `start_line`"));
    }
    let Some(part) = lines.get(start - 1..last) else {
        return Err(failed(format!("'{path}' only has {} lines", lines.len())));
    };
    let part = part.join("\n");
    Ok(json!({
        "content": format!("--- Lines {start}-{last} of {} (file: {path}) ---\n{part}", lines.len()),
        "total_lines": lines.len(),
        "line_range": [start, last],
    }))
}
