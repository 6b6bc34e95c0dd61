//! Searches an agent's files.

use crate::{
    flow::NodeError,
    nodes::agents::{BuiltInTool, Work, Workspace, failed},
    pattern::Pattern,
};
use serde_json::{Map, Value, json};

pub(in super::super) const FILE_SEARCH: BuiltInTool = BuiltInTool {
    class: "tools.FileSearchTool",
    name: "file-search",
    description: "Searches the files for a text, or with `mode` \"regex\" for a regular expression, and gives each \
                  match with the text around it.",
    parameters: || {
        let number = |what: &str| json!({"type": "integer", "minimum": 0, "description": what});
        json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What to search for."},
                "file_path": {
                    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                    "description": "The file or files to search; empty for all.",
                },
                "mode": {"type": "string", "enum": ["substring", "regex"], "description": "\"substring\" by default."},
                "case_sensitive": {"type": "boolean", "description": "false by default."},
                "max_matches_per_file": number("5 by default."),
                "max_files": number("20 by default."),
                "context_chars": number("Characters to give around a match; 120 by default."),
            },
            "required": ["query"],
        })
    },
    parallel: false,
    work: Work::Long(search),
};

fn search(desk: &Workspace, input: &Map<String, Value>) -> Result<Value, NodeError> {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str, default: usize| {
        input
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default)
    };
    let query = text("query");
    let sensitive = input.get("case_sensitive").and_then(Value::as_bool).unwrap_or(false);
    let pattern = match text("mode") {
        "regex" => Pattern::new(query, !sensitive),
        _ => Pattern::literal(query, !sensitive),
    };
    let pattern =
        pattern.map_err(|error| failed(format!("`query` is not a valid regular expression: {error}")))?;
    let named: Vec<&str> = match input.get("file_path") {
        Some(Value::String(path)) if !path.is_empty() => vec![path],
        Some(Value::Array(paths)) => paths.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let paths: Vec<&str> =
        if named.is_empty() { desk.files().map(|(path, _)| path).collect() } else { named };
    let (mut matches, mut scanned, mut missing) = (Vec::new(), 0, Vec::new());
    for path in paths.into_iter().take(number("max_files", 20)) {
        let Some(file) = desk.get(path) else {
            missing.push(path);
            continue;
        };
        scanned += 1;
        let Some(text) = file.text() else { continue };
        for found in pattern.find_iter(text).take(number("max_matches_per_file", 5)) {
            let found =
                found.map_err(|error| failed(format!("the search was stopped: {}", error.message)))?;
            let around = number("context_chars", 120);
            matches.push(json!({
                "file_path": path,
                "line": text[..found.start].matches('\n').count() + 1,
                "match": &text[found.clone()],
                "context": context(text, found.start, found.end, around),
            }));
        }
    }
    let mut message = format!("{} match(es) in {scanned} file(s)", matches.len());
    if !missing.is_empty() {
        message = format!("{message}; not found: {}", missing.join(", "));
    }
    let total = matches.len();
    Ok(json!({
        "content": {"matches": matches, "files_scanned": scanned, "total_matches": total, "message": message},
    }))
}

/// The part from `start` to `end`, with up to `around` characters before and after it.
fn context(text: &str, start: usize, end: usize, around: usize) -> &str {
    let from = text[..start].char_indices().rev().take(around).last().map_or(start, |(index, _)| index);
    let to = text[end..].char_indices().nth(around).map_or(text.len(), |(index, _)| end + index);
    &text[from..to]
}
