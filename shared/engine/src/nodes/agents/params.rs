//! `tool_params`: arguments that the caller passes to tools and the model does not see.

use super::tools::Tool;
use serde_json::{Map, Value};

/// The parameters of one execution of an agent.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolParams {
    global: Map<String, Value>,
    by_name: Map<String, Value>,
    by_id: Map<String, Value>,
}

impl ToolParams {
    /// Reads `{global, by_name, by_id}`, or the names with `_params` that results show. `None` if the value is neither
    /// null nor a mapping of mappings.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let empty = Map::new();
        let given = match value {
            Value::Null => &empty,
            Value::String(text) if text.is_empty() => &empty,
            Value::Object(given) => given,
            _ => return None,
        };
        let part = |name: &str| match given.get(name).or_else(|| given.get(&format!("{name}_params"))) {
            None | Some(Value::Null) => Some(Map::new()),
            Some(Value::Object(part)) => Some(part.clone()),
            Some(_) => None,
        };
        let (by_name, by_id) = (part("by_name")?, part("by_id")?);
        if !by_name.values().chain(by_id.values()).all(Value::is_object) {
            return None;
        }
        Some(Self { global: part("global")?, by_name, by_id })
    }

    /// The parameters as results show them.
    pub(super) fn shown(&self) -> Value {
        serde_json::json!({
            "global_params": self.global, "by_name_params": self.by_name, "by_id_params": self.by_id,
        })
    }

    /// Sets the parameters of the tool: the global ones, then those by its name, then those by its id. A mapping is
    /// merged into an existing one, and a list in it is appended to an existing one.
    pub(super) fn apply(&self, tool: &Tool, input: &mut Map<String, Value>) {
        let named = [tool.name.as_str(), tool.called.as_str()];
        let names = if named[0] == named[1] { &named[..1] } else { &named[..] };
        let parts = std::iter::once(&self.global)
            .chain(names.iter().filter_map(|name| self.by_name.get(*name)?.as_object()))
            .chain(tool.ids().filter_map(|id| self.by_id.get(id)?.as_object()));
        for (key, value) in parts.flatten() {
            match (input.get_mut(key), value) {
                (Some(Value::Object(existing)), Value::Object(given)) => merge(existing, given),
                _ => {
                    input.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

fn merge(existing: &mut Map<String, Value>, given: &Map<String, Value>) {
    for (key, value) in given {
        match (existing.get_mut(key), value) {
            (Some(Value::Object(existing)), Value::Object(given)) => merge(existing, given),
            (Some(Value::Array(existing)), Value::Array(given)) => existing.extend(given.iter().cloned()),
            _ => {
                existing.insert(key.clone(), value.clone());
            }
        }
    }
}
