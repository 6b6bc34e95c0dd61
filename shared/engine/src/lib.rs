//! Executes dynamiq workflow files natively.
//!
//! Promises: a file that loads runs as the reference (Python `dynamiq` 0.69.0) runs it; a file that does not load says
//! every mistake with line and column; nothing that a run recorded is done again; nodes that do not depend on each
//! other run at the same time, and nothing is parsed for a run.
//!
//! Knows runs only by their context, and nothing of HTTP servers or stores. Python code is given to a sandbox, and every
//! call to the network goes through one guard.
//!
//! | module | what |
//! | --- | --- |
//! | `load` | YAML, references, and everything that can be wrong with them |
//! | `flow` | the scheduler, and what all nodes have in common: dependencies, retries, records, events |
//! | `transform`, `condition`, `expression` | selectors, conditions, and expressions over named values |
//! | `compute` | the budget of what authors and callers can make long, and the threads for it |
//! | `nodes` | the kinds of nodes, one file each |
//! | `prompt`, `template`, `llm` | prompts in Jinja, and the models that get them |
//! | `vectors` | stores of documents with their vectors |
//! | `job` | work on data that is performed in a process of its own, where it can be killed |
//! | `egress` | the guard at the gate to the network |
//! | `engine` | the port of the domain, and the cache of what was compiled |

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
mod rest;
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
pub use load::{LoadErrors, Mistake, Spot, workflow_ids};
pub use python::{PythonError, PythonRunner};
pub use workflow::RunResults;
