//! The kinds of nodes: a folder for each group of the reference, a file for each kind.
//!
//! To add one: write `nodes/<group>/<name>.rs` with a type that implements [`Kind`] and a [`Registered`] that builds it
//! from its fields, and add that to the `NODES` of its group.

mod admit;
pub(crate) mod agents;
pub(crate) mod connection;
mod converters;
mod embedders;
mod extractors;
mod files;
mod filters;
pub(crate) mod llms;
mod not_native;
mod operators;
mod part;
mod rankers;
mod retrievers;
mod splitters;
#[cfg(test)]
mod state;
mod tools;
mod transformers;
mod utils;
mod validators;
mod writers;

pub(crate) use operators::is_option_result;

use crate::{
    flow::{Kind, NodeError},
    job::RegisteredJob,
    load::{Fields, Loading, meant},
    python_text,
};
use not_native::{NOT_NATIVE, OUT_OF_SCOPE};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// A node type that the engine implements.
pub(crate) struct Registered {
    /// Its group and class: `operators.Pass` for `dynamiq.nodes.operators.Pass`.
    pub(crate) class: &'static str,
    /// The default name of a node.
    pub(crate) name: Option<&'static str>,
    /// The timeout of a node without `error_handling`.
    pub(crate) timeout: Option<Duration>,
    /// Builds it from the node's id and fields. `None` means that an error was reported.
    pub(crate) build: Build,
}

/// Builds a node's kind from its fields.
pub(crate) type Build = fn(&str, Fields<'_>, &Loading<'_>) -> Option<Box<dyn Kind>>;

/// All native node types, by group.
const NATIVE: &[&[&Registered]] = &[
    agents::NODES,
    converters::NODES,
    embedders::NODES,
    extractors::NODES,
    filters::NODES,
    llms::NODES,
    operators::NODES,
    rankers::NODES,
    retrievers::NODES,
    splitters::NODES,
    tools::NODES,
    transformers::NODES,
    utils::NODES,
    validators::NODES,
    writers::NODES,
];

/// All jobs of nodes, by group.
pub(crate) const JOBS: &[&[RegisteredJob]] = &[converters::JOBS, splitters::JOBS, transformers::JOBS];

fn native() -> impl Iterator<Item = &'static Registered> {
    NATIVE.iter().flat_map(|group| group.iter().copied())
}

/// The input of a kind whose schema takes any mapping.
fn mapping(input: Arc<Value>, kind: &str) -> Result<Arc<Value>, NodeError> {
    if input.is_object() {
        return Ok(input);
    }
    let given = python_text::type_name(&input);
    let message = format!("the input of {kind} must be a mapping, but its transformer returns {given}");
    Err(NodeError::new("ValidationError", message))
}

/// Runs CPU-bound work on a thread for blocking tasks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    // A parser that panics on a hostile file fails only its node.
    let failed = |_| Err(NodeError::new("RuntimeError", "the data cannot be read").lasting());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}

/// The result of looking up a node type.
pub(crate) enum Lookup {
    Native(&'static Registered),
    /// It is unknown or not native; the text says which, and suggests a similar name.
    Other(String),
}

/// Looks up a node type.
pub(crate) fn find(type_path: &str) -> Lookup {
    if let Some(class) = class_of(type_path) {
        if let Some(registered) = native().find(|registered| registered.class == class) {
            return Lookup::Native(registered);
        }
        if let Some(why) = out_of_scope(&class) {
            return Lookup::Other(format!("nodes of type `{type_path}` are not native here: {why}"));
        }
        if is_not_native(&class) {
            return Lookup::Other(format!("nodes of type `{type_path}` do not run here yet"));
        }
    }
    let known: Vec<String> = known().map(|class| format!("dynamiq.nodes.{class}")).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let plain = class_of(type_path).map(|class| format!("dynamiq.nodes.{class}"));
    let near = meant(plain.as_deref().unwrap_or(type_path), &known);
    Lookup::Other(format!("there is no node type `{type_path}`{near}"))
}

/// Whether the reference has this node type.
pub(crate) fn is_known(type_path: &str) -> bool {
    class_of(type_path).is_some_and(|class| known().any(|known| known == class))
}

/// Returns `operators.Pass` for both `dynamiq.nodes.operators.Pass` and `dynamiq.nodes.operators.operators.Pass`.
fn class_of(type_path: &str) -> Option<String> {
    let (path, class) = type_path.strip_prefix("dynamiq.nodes.")?.rsplit_once('.')?;
    let group = if path == "agents.orchestrators" || path.starts_with("agents.orchestrators.") {
        "agents.orchestrators"
    } else {
        path.split('.').next()?
    };
    Some(format!("{group}.{class}"))
}

/// Why a node type is out of scope, if it is.
fn out_of_scope(class: &str) -> Option<&'static str> {
    OUT_OF_SCOPE.iter().find(|(_, classes)| classes.contains(&class)).map(|(why, _)| *why)
}

fn is_not_native(class: &str) -> bool {
    NOT_NATIVE.iter().any(|(group, classes)| {
        class
            .strip_prefix(group)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|c| classes.contains(&c))
    })
}

fn known() -> impl Iterator<Item = String> {
    let native = native().map(|registered| registered.class.to_owned());
    let others = NOT_NATIVE
        .iter()
        .flat_map(|(group, classes)| classes.iter().map(move |class| format!("{group}.{class}")));
    native.chain(others)
}
