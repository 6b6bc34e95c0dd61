//! Writes an agent's list of tasks.

use crate::{
    flow::NodeError,
    nodes::agents::{AgentFile, BuiltInTool, Work, Workspace, failed},
    python_json, python_text,
};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Path of the list among the agent's files.
const FILE: &str = "._agent/todos.json";
const STATUSES: [(&str, &str); 3] = [("pending", "⏳"), ("in_progress", "🔄"), ("completed", "✅")];

pub(in super::super) const TODO_WRITE: BuiltInTool = BuiltInTool {
    class: "tools.TodoWriteTool",
    name: "todo-write",
    description: "Keeps your list of tasks. To begin: all tasks, the first `in_progress`, the others `pending`. Then, \
                  with `merge` (the default), only those whose status changed, by the ids that the list has: their \
                  text stays as it is. With `merge` false the list is replaced.",
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "todos": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string"},
                            "content": {"type": "string", "description": "What is to be done."},
                            "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]},
                        },
                        "required": ["id", "content"],
                    },
                    "description": "The tasks.",
                },
                "merge": {"type": "boolean", "description": "Whether to change the list that is there; true by default."},
            },
            "required": ["todos"],
        })
    },
    parallel: false,
    work: Work::Short(save),
};

fn save(desk: &mut Workspace, input: &Map<String, Value>) -> Result<Value, NodeError> {
    let mut given = input.get("todos").and_then(Value::as_array).cloned().unwrap_or_default();
    for todo in &mut given {
        let Value::Object(todo) = todo else {
            return Err(failed("a task must be an object with `id`, `content` and `status`"));
        };
        todo.entry("status").or_insert_with(|| "pending".into());
    }
    let merge = input.get("merge").and_then(Value::as_bool).unwrap_or(true);
    if merge && !desk.todos.is_empty() {
        let unknown: Vec<&Value> = given
            .iter()
            .map(|todo| &todo["id"])
            .filter(|id| desk.todos.iter().all(|known| known["id"] != **id))
            .collect();
        if !unknown.is_empty() {
            let list = |ids: Vec<Value>| python_text::repr(&Value::Array(ids));
            let (unknown, known) = (
                list(unknown.into_iter().cloned().collect()),
                list(desk.todos.iter().map(|todo| todo["id"].clone()).collect()),
            );
            return Err(failed(format!("Todo ids not found: {unknown}. Existing ids: {known}")));
        }
        for todo in &given {
            for known in desk.todos.iter_mut().filter(|known| known["id"] == todo["id"]) {
                known["status"] = todo["status"].clone();
            }
        }
    } else {
        desk.todos = given;
    }
    let content = python_json::indented(&json!({"todos": desk.todos})).into_bytes();
    desk.put(FILE, AgentFile { content, mime_type: "application/json".into() })?;
    Ok(json!({"content": shown(&desk.todos)}))
}

fn shown(todos: &[Value]) -> String {
    let mut text = "✅ Todos saved successfully!\n\n📋 Current Todo List:\n".to_owned();
    let count = |status: &str| todos.iter().filter(|todo| todo["status"] == status).count();
    for todo in todos {
        let status = todo["status"].as_str().unwrap_or_default();
        let icon = STATUSES.iter().find(|(known, _)| *known == status).map_or("❓", |(_, icon)| icon);
        let (id, content) = (python_text::str(&todo["id"]), python_text::str(&todo["content"]));
        let _ = writeln!(text, "  {icon} [{id}] {content} ({status})");
    }
    let _ = write!(
        text,
        "\n📊 Stats: {} total | ⏳ {} pending | 🔄 {} in progress | ✅ {} completed",
        todos.len(),
        count("pending"),
        count("in_progress"),
        count("completed")
    );
    text
}
