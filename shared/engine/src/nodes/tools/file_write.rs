//! Writes or edits one of an agent's files.

use crate::{
    flow::NodeError,
    nodes::agents::{AgentFile, BuiltInTool, Work, Workspace, failed},
    python_json, python_text,
};
use serde_json::{Map, Value, json};

pub(in super::super) const FILE_WRITE: BuiltInTool = BuiltInTool {
    class: "tools.FileWriteTool",
    name: "file-write",
    description: "Writes a file (`action` \"write\" with `content`; `append` adds to its end), or changes parts of one \
                  (`action` \"edit\" with `edits`, each of which finds a text and replaces it; all are done or none).",
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "action": {"type": "string", "enum": ["write", "edit"], "description": "\"write\" by default."},
                "file_path": {"type": "string", "description": "The file's path, relative, without `..`."},
                "content": {"description": "What to write: text, or a value that is written as JSON."},
                "edits": {
                    "type": ["array", "null"],
                    "items": {
                        "type": "object",
                        "properties": {
                            "find": {"type": "string", "description": "The text to find; it must stand in one place."},
                            "replace": {"type": "string", "description": "What to put there."},
                            "replace_all": {"type": "boolean", "description": "Whether to replace it everywhere."},
                        },
                        "required": ["find", "replace"],
                    },
                    "description": "The changes, done one after another.",
                },
                "content_type": {"type": ["string", "null"], "description": "The media type."},
                "append": {"type": "boolean", "description": "Whether to add to the file's end; false by default."},
                "overwrite": {"type": "boolean", "description": "Whether a file may be replaced; true by default."},
                "brief": {"type": "string", "description": "A few words on what this call does."},
            },
            "required": ["file_path"],
        })
    },
    parallel: false,
    work: Work::Short(|desk, input| match input.get("action").and_then(Value::as_str) {
        Some("edit") => edit(desk, input),
        _ => write(desk, input),
    }),
};

/// The path, if it is valid: relative, and without `.` and `..`.
fn path(input: &Map<String, Value>) -> Result<&str, NodeError> {
    let path = input.get("file_path").and_then(Value::as_str).unwrap_or_default();
    let is_within =
        !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if is_within && !path.contains(['\\', '\0']) {
        return Ok(path);
    }
    Err(failed(format!("'{path}' is not a valid path: use a relative path without `.` and `..`")))
}

fn write(desk: &mut Workspace, input: &Map<String, Value>) -> Result<Value, NodeError> {
    let path = path(input)?;
    let flag = |key: &str, default| input.get(key).and_then(Value::as_bool).unwrap_or(default);
    let (append, overwrite) = (flag("append", false), flag("overwrite", true));
    let (content, inferred) = match input.get("content") {
        None | Some(Value::Null) => return Err(failed("`content` cannot be blank for `write`")),
        Some(Value::String(text)) => (text.clone(), "text/plain"),
        Some(value @ (Value::Object(_) | Value::Array(_))) => (python_json::ascii(value), "application/json"),
        Some(value) => (python_text::str(value), "text/plain"),
    };
    let mut bytes = match desk.get(path) {
        Some(_) if !append && !overwrite => {
            return Err(failed(format!("the file '{path}' already exists: set `overwrite`")));
        }
        Some(file) if append => file.content.clone(),
        _ => Vec::new(),
    };
    bytes.extend_from_slice(content.as_bytes());
    let mime_type = input.get("content_type").and_then(Value::as_str).unwrap_or(inferred).to_owned();
    desk.put(path, AgentFile { content: bytes, mime_type })?;
    Ok(json!({"content": format!("File '{path}' written successfully")}))
}

fn edit(desk: &mut Workspace, input: &Map<String, Value>) -> Result<Value, NodeError> {
    let path = path(input)?;
    let Some(file) = desk.get(path) else { return Err(failed(format!("the file '{path}' does not exist"))) };
    let Some(text) = file.text() else { return Err(failed(format!("'{path}' is not a text file"))) };
    let edits = input.get("edits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if edits.is_empty() {
        return Err(failed("`edits` cannot be blank for `edit`"));
    }
    let (mut text, mime_type) = (text.to_owned(), file.mime_type.clone());
    let mut replacements = 0;
    for edit in edits {
        let part = |key: &str| edit[key].as_str().unwrap_or_default();
        let (find, replace) = (part("find"), part("replace"));
        let count = if find.is_empty() { 0 } else { text.matches(find).count() };
        let all = edit["replace_all"] == true;
        if count == 0 || (count > 1 && !all) {
            let shown: String = find.chars().take(80).collect();
            let what = if count == 0 { "is not in".into() } else { format!("occurs {count} times in") };
            let content = format!(
                "Nothing was changed: {} {what} '{path}'. Give a text that occurs once, or set `replace_all`.",
                python_text::repr(&shown.into())
            );
            return Ok(json!({"content": content}));
        }
        replacements += count;
        text = text.replace(find, replace);
    }
    desk.put(path, AgentFile { content: text.into_bytes(), mime_type })?;
    let content = format!(
        "Applied {count} of {count} edit(s) with {replacements} replacement(s) to {path}. Use file-read to view the updated file.",
        count = edits.len()
    );
    Ok(json!({"content": content}))
}
