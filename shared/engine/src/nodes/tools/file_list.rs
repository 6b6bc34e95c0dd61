//! Lists an agent's files.

use crate::nodes::agents::{BuiltInTool, Work, Workspace};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

pub(in super::super) const FILE_LIST: BuiltInTool = BuiltInTool {
    class: "tools.FileListTool",
    name: "file-list",
    description: "Lists the files that are there, with their paths and sizes.",
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The folder to list; empty for all files."},
                "recursive": {"type": "boolean", "description": "Whether to list its folders as well; true by default."},
            },
        })
    },
    parallel: false,
    work: Work::Short(|desk, input| Ok(json!({"content": list(desk, input)}))),
};

fn list(desk: &Workspace, input: &Map<String, Value>) -> String {
    let folder = input.get("file_path").and_then(Value::as_str).unwrap_or_default().trim_matches('/');
    let recursive = input.get("recursive").and_then(Value::as_bool).unwrap_or(true);
    let mut lines = String::new();
    for (path, file) in desk.files() {
        let Some(rest) = within(folder, path) else { continue };
        if recursive || !rest.contains('/') {
            let name = path.rsplit('/').next().unwrap_or(path);
            let _ = writeln!(lines, "File: {name} | Path: {path} | Size: {} bytes", file.content.len());
        }
    }
    match (lines.is_empty(), folder) {
        (false, _) => format!("Files currently available in the file store:\n{lines}"),
        (true, "") => "No files are currently available in the file store.".into(),
        (true, _) => format!("No files are currently available in the file store under '{folder}'."),
    }
}

/// The rest of a path after its folder.
fn within<'p>(folder: &str, path: &'p str) -> Option<&'p str> {
    match folder {
        "" => Some(path),
        _ => path.strip_prefix(folder)?.strip_prefix('/').or_else(|| (path == folder).then_some(path)),
    }
}
