//! Executes dynamiq workflow files natively.
//!
//! Promises:
//!
//! - A file that loads runs as the reference (Python `dynamiq` 0.69.0) runs it.
//! - For a file that does not load, every error is reported with line and column.
//! - Steps that a run has recorded are not repeated.
//! - Nodes that do not depend on each other run concurrently.
//! - A run parses nothing: apps are compiled once.
//!
//! The crate knows a run only by its context, and knows neither HTTP servers nor stores. Python code runs in a sandbox,
//! and every call to the network passes one guard.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `load` | the loader of YAML files: references, validation, errors |
//! | `flow` | the scheduler, and what all nodes share: dependencies, retries, records, events |
//! | `transform`, `condition`, `expression` | selectors, conditions, and expressions over named values |
//! | `compute` | the budget for work whose length authors and callers control, and its threads |
//! | `nodes` | the node types, one file each |
//! | `prompt`, `template`, `llm` | prompts in Jinja, and the clients of model providers |
//! | `vectors` | stores of documents with their vectors |
//! | `job` | work on data in a separate process that can be killed |
//! | `egress` | the guard of all network access |
//! | `engine` | the implementation of the domain's port, and the cache of compiled apps |

mod charset;
mod compute;
mod condition;
mod csv;
mod document;
mod egress;
mod engine;
mod expression;
mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod html;
mod http_client;
mod job;
#[cfg(test)]
mod limits;
mod llm;
mod load;
mod mcp;
mod measure;
mod nodes;
mod pattern;
mod prompt;
mod python;
mod python_json;
mod python_text;
mod schema;
mod secrets;
mod services;
#[cfg(test)]
mod tables;
mod template;
mod transform;
mod vectors;
mod workflow;

pub use engine::{Engine, EngineConfig, ReadEnv};
pub use flow::{FailedNode, NodeError, Status};
pub use job::{JobError, JobRunner, JobTurn, perform};
pub use load::{LoadErrors, Mistake, SourcePos, workflow_ids};
pub use python::{PythonError, PythonRunner};
pub use workflow::RunResults;
