//! Warnings about parts of a file without effect: keys that the loader did not read, and nodes that are in no flow.

use super::{Mistakes, Yaml, nearest, yaml::Entry};
use std::collections::BTreeSet;

/// Keys that the reference's editors and exports write into nodes of any type.
const SILENT: &[&str] = &["description", "group", "id", "type", "version"];

/// Keys that the reference uses, but the engine does not.
const WITHOUT_EFFECT: &[&str] = &[
    "action_type",
    "callbacks",
    "checkpoint",
    "input_param_modes",
    "input_schema",
    "is_files_allowed",
    "is_optimized_for_agents",
    "is_output_persisted_in_sandbox_allowed",
    "is_parallel_execution_allowed",
    "is_postponed_component_init",
    "metadata",
    "mock",
];

/// Adds a warning for each key under `root` that has no effect.
pub(super) fn ignored(root: &Yaml, warnings: &mut Mistakes) {
    root.unasked(&mut |entry, read_keys| {
        if !warnings.is_tired()
            && let Some(message) = warning(entry, read_keys)
        {
            warnings.warn(entry.key_spot, message);
        }
    });
}

fn warning(entry: &Entry, read_keys: &BTreeSet<String>) -> Option<String> {
    let key = entry.key.as_str();
    // A mapping of which no key was read is in an unused part of the file.
    if read_keys.is_empty() || SILENT.contains(&key) {
        return None;
    }
    if WITHOUT_EFFECT.contains(&key) {
        return (!entry.value.is_off()).then(|| format!("`{key}` has no effect here"));
    }
    let known: Vec<&str> = read_keys.iter().map(String::as_str).collect();
    let near = nearest(key, &known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Some(format!("nothing reads `{key}` here, so it has no effect{near}"))
}
