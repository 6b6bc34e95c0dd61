//! Tools: nodes that an agent can call, or that a flow executes.

mod agent_only;
mod file_list;
mod file_read;
mod file_search;
mod file_write;
mod http;
mod human_feedback;
pub(crate) mod mcp;
mod multipart;
mod python;
mod summarizer;
mod thinking;
mod todo_write;

pub(super) use file_list::FILE_LIST;
pub(super) use file_read::FILE_READ;
pub(super) use file_search::FILE_SEARCH;
pub(super) use file_write::FILE_WRITE;
pub(super) use todo_write::TODO_WRITE;

use super::{Registered, agents::BuiltInTool, mapping};

pub(super) const NODES: &[&Registered] = &[
    &agent_only::CONTEXT_MANAGER,
    &agent_only::PARALLEL,
    &agent_only::SUB_AGENT,
    &agent_only::FILE_LIST,
    &agent_only::FILE_READ,
    &agent_only::FILE_SEARCH,
    &agent_only::FILE_WRITE,
    &agent_only::TODO_WRITE,
    &http::HTTP_API_CALL,
    &human_feedback::HUMAN_FEEDBACK,
    &mcp::MCP_SERVER,
    &mcp::MCP_TOOL,
    &python::PYTHON,
    &summarizer::SUMMARIZER,
    &thinking::THINKING,
];

/// Tools that work on an agent's own files and tasks.
pub(super) const BUILT_IN: &[BuiltInTool] = &[FILE_LIST, FILE_READ, FILE_SEARCH, FILE_WRITE, TODO_WRITE];
