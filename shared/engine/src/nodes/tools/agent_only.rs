//! Tools of an agent as nodes of a flow: those on files work on the run's files, the others are errors.

use super::{Registered, file_list, file_read, file_search, file_write, todo_write};
use crate::{
    flow::Kind,
    load::Fields,
    nodes::agents::{BuiltInNode, BuiltInTool},
};
use std::time::Duration;

pub(super) const FILE_LIST: Registered =
    own(&file_list::FILE_LIST, None, |_, fields, _| Some(alone(fields, file_list::FILE_LIST)));
pub(super) const FILE_READ: Registered =
    own(&file_read::FILE_READ, None, |_, fields, _| Some(alone(fields, file_read::FILE_READ)));
pub(super) const FILE_SEARCH: Registered =
    own(&file_search::FILE_SEARCH, None, |_, fields, _| Some(alone(fields, file_search::FILE_SEARCH)));
pub(super) const FILE_WRITE: Registered =
    own(&file_write::FILE_WRITE, None, |_, fields, _| Some(alone(fields, file_write::FILE_WRITE)));
pub(super) const TODO_WRITE: Registered =
    own(&todo_write::TODO_WRITE, Some(Duration::from_secs(30)), |_, fields, _| {
        Some(alone(fields, todo_write::TODO_WRITE))
    });

pub(super) const CONTEXT_MANAGER: Registered = part("tools.ContextManagerTool", "context-manager");
pub(super) const PARALLEL: Registered = part("tools.ParallelToolCallsTool", "run-parallel");
pub(super) const SUB_AGENT: Registered = part("tools.SubAgentTool", "sub-agent");

const fn own(own: &BuiltInTool, timeout: Option<Duration>, build: super::super::Build) -> Registered {
    Registered { class: own.class, name: Some(own.name), timeout, build }
}

fn alone(fields: Fields<'_>, own: BuiltInTool) -> Box<dyn Kind> {
    // The store that the file names has no effect: the node works on the run's files.
    fields.know(&["file_store"]);
    Box::new(BuiltInNode(own))
}

const fn part(class: &'static str, name: &'static str) -> Registered {
    Registered {
        class,
        name: Some(name),
        timeout: None,
        build: |id, fields, _| {
            let message = format!("`{id}` is a tool of an agent: move it to the `tools` of an agent");
            fields.mistake(fields.spot("type"), message);
            None
        },
    }
}
