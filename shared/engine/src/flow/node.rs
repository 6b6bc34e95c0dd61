//! One node: what all kinds share, and how a node is run.

use super::{
    Approval, Approved, Behavior, Branches, CacheKey, Depend, ErrorHandling, FlowNodes, Listed, NodeError,
    RestTracker, Results, Source, Status, ToolCalled, ToolSpec,
    announce::announcements,
    approval::Verdict,
    depends,
    depends::NotExecuted,
    dict::dict,
    result::{Input, NodeResult},
};
use crate::{
    python_text,
    services::Services,
    transform::{Data, Transformer},
};
use async_trait::async_trait;
use runyard_runs::{
    EventBody, MAX_NESTING, MAX_OUTPUT_BYTES, MAX_OUTPUT_MEMORY, MAX_OUTPUT_VALUES, NodeRef, RunContext,
    RunError, Size, Stopped,
};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, fmt, sync::Arc};

/// A node of a workflow, compiled.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: Arc<str>,
    pub(crate) name: Option<String>,
    /// How events name it.
    pub(crate) reference: Arc<NodeRef>,
    pub(crate) kind: Box<dyn Kind>,
    pub(crate) input: Transformer,
    pub(crate) mapping: Map<String, Value>,
    pub(crate) output: Transformer,
    pub(crate) errors: ErrorHandling,
    pub(crate) approval: Option<Approval>,
    /// Whether an external call that may have been made already may be repeated.
    pub(crate) idempotent: bool,
    pub(crate) depends: Vec<Depend>,
    /// Only of nodes that join branches.
    pub(crate) branches: Option<Branches>,
    /// Whether its outputs may be cached.
    pub(crate) cached: bool,
}

/// A node before its flow is known: a [`Node`] without its dependencies.
#[derive(Debug)]
pub(crate) struct NodeSpec {
    pub(crate) id: Arc<str>,
    pub(crate) name: Option<String>,
    pub(crate) type_path: String,
    pub(crate) kind: Box<dyn Kind>,
    pub(crate) input: Transformer,
    pub(crate) mapping: Map<String, Value>,
    pub(crate) output: Transformer,
    pub(crate) errors: ErrorHandling,
    pub(crate) approval: Option<Approval>,
    pub(crate) cached: bool,
    pub(crate) idempotent: bool,
}

/// The implementation of a node type.
///
/// Each kind has a file in `nodes/`. The flow does what is the same for every kind: dependencies, transformers,
/// timeouts, retries, records and events.
#[async_trait]
pub(crate) trait Kind: fmt::Debug + Send + Sync {
    /// Executes the node. Called again for each retry.
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt>;

    /// Validates the input against the kind's schema, and fills in defaults; called once, before the node is executed.
    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        Ok(input)
    }

    /// Another way to get the output, after all attempts have failed.
    async fn rescue(
        &self,
        _call: Call<'_>,
        _input: &Arc<Value>,
        error: NodeError,
    ) -> Result<Arc<Value>, Halt> {
        Err(error.into())
    }

    /// The options that other nodes can depend on.
    fn options(&self) -> &[String] {
        &[]
    }

    /// What a model needs to know to call the node as a tool.
    fn offer(&self) -> ToolSpec {
        ToolSpec::default()
    }

    /// Whether the node stands for the tools of a server, instead of being a tool itself.
    fn is_server(&self) -> bool {
        false
    }

    /// The tools of the server. Called once per run of an agent, and journaled there. A call of a tool executes the
    /// node with `{tool, arguments}`.
    async fn list(&self, _call: Call<'_>) -> Result<Vec<Listed>, Halt> {
        Ok(Vec::new())
    }

    /// The node's role in the run as a whole.
    fn role(&self) -> Role<'_> {
        Role::Step
    }
}

/// The role of a node in the run as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// It takes the run's input, which its schema describes.
    Input(Option<&'a crate::schema::Schema>),
    /// It returns the run's output, and joins branches.
    Output,
    /// Anything else.
    Step,
}

/// What a kind gets in addition to its input. Cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) run: &'a RunContext,
    pub(crate) services: &'a Services,
    pub(crate) rests: &'a RestTracker,
    pub(crate) node: &'a Node,
    /// The node's key in the journal, unique in the run: its id, preceded by the ids of the nodes that contain it.
    pub(crate) key: &'a str,
    /// How many attempts failed before this one.
    pub(crate) attempt: u32,
}

impl Call<'_> {
    /// The journal prefix of the nodes that this one contains. A further attempt runs them again under another prefix,
    /// so that the records of the failed attempt do not apply.
    pub(crate) fn within(&self) -> String {
        match self.attempt {
            0 => format!("{}/", self.key),
            attempt => format!("{}~{attempt}/", self.key),
        }
    }
}

/// Why a node returns no output.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It failed.
    Failed(NodeError),
    /// It waits for a person.
    Suspended,
    /// The run is no longer executed here.
    Stopped,
}

impl From<NodeError> for Halt {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

impl From<Stopped> for Halt {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// How running a node ended.
pub(crate) enum Ended {
    With(NodeResult),
    Suspended,
    Stopped,
}

/// Runs a node once its dependencies have ended: restores it from the journal, skips it, or executes it.
///
/// `tool`: the tool call, if an agent makes it.
pub(crate) async fn run_node(call: Call<'_>, source: Source<'_>, tool: Option<ToolCalled<'_>>) -> Ended {
    let Call { run, node, key, rests, .. } = call;
    let _stay = rests.works();
    let done = format!("node:{key}:done");
    if let Some(result) = restore(call, source, &done, tool).await {
        return Ended::With(result);
    }
    let failed = |input: Input, error: NodeError| {
        let error = call.services.secrets.hide_in_error(error);
        let body =
            EventBody::NodeFailed { node: Arc::clone(&node.reference), error: run_error(node, &error) };
        let mut journal = json!({"after": source.seen, "error": error.to_json()});
        if is_handled(node, &source) {
            journal["handled"] = true.into();
        } else {
            // A retry of the run executes the node again, so its calls are no longer in flight.
            journal["void"] = announcements(key).as_slice().into();
        }
        run.record(&done, body, Some(journal));
        Ended::With(NodeResult {
            status: Status::Failure,
            input,
            output: Arc::new(Value::Null),
            size: Size::default(),
            error: Some(error),
        })
    };
    let skip = |error: NodeError| {
        let error = call.services.secrets.hide_in_error(error);
        let body =
            EventBody::NodeSkipped { node: Arc::clone(&node.reference), error: run_error(node, &error) };
        run.record(&done, body, Some(json!({"after": source.seen, "error": error.to_json()})));
        Ended::With(skipped(&source, error))
    };
    match depends::check(run, node, &source).await {
        Ok(()) => {}
        Err(NotExecuted::Fail(error)) => return failed(run_input(&source), error),
        Err(NotExecuted::Skip(error)) => return skip(error),
    }
    let mut approved = None;
    if let Some(approval) = &node.approval {
        // If there is no input, there is nothing to approve.
        let input = match transform(run, node, &source).await {
            Ok(input) => input,
            Err(error) => return failed(run_input(&source), error),
        };
        match approval.ask(call, &input, tool).await {
            Verdict::Approved(with) => approved = Some(with),
            Verdict::Denied(error) => return skip(error),
            Verdict::Failed(error) => return failed(run_input(&source), error),
            Verdict::Pending => return Ended::Suspended,
        }
    }
    if let (Some(tool), Some(approved)) = (tool, &approved) {
        (tool.approved)(approved);
    }
    let input = approved.as_ref().map(|approved| {
        let mut input = (*approved.input).clone();
        call.services.secrets.hide_in_value(&mut input);
        input
    });
    let started = EventBody::NodeStarted { node: Arc::clone(&node.reference), input };
    run.record(&format!("node:{key}:started"), started, None);
    let Inputs { shown, given } = match inputs(run, node, &source, approved.as_ref()).await {
        Ok(inputs) => inputs,
        Err((input, error)) => return failed(input, error),
    };
    let output = match cached_attempts(call, &given).await {
        Err(Halt::Failed(error)) => node.kind.rescue(call, &given, error).await,
        other => other,
    };
    let output = match output {
        Ok(output) => finish(call, output).await,
        Err(halt) => Err(halt),
    };
    match output.map(|(output, size)| (call.services.secrets.hide_in_output(output), size)) {
        Ok((output, size)) => {
            let body =
                EventBody::NodeCompleted { node: Arc::clone(&node.reference), output: Arc::clone(&output) };
            run.record(&done, body, Some(json!({"after": source.seen})));
            Ended::With(NodeResult { status: Status::Success, input: shown, output, size, error: None })
        }
        Err(Halt::Failed(error)) => failed(Input::Given(given), error),
        Err(Halt::Suspended) => Ended::Suspended,
        Err(Halt::Stopped) => Ended::Stopped,
    }
}

/// Runs a node that another node contains. It sees `input` only; `position` distinguishes it from others in `holder`.
pub(crate) async fn run_within(
    holder: Call<'_>,
    node: &Node,
    position: &str,
    input: &Value,
) -> Result<Arc<Value>, Halt> {
    run_held(holder, node, position, input, None).await
}

/// Like [`run_within`], for an agent's tool call.
pub(crate) async fn run_tool(
    holder: Call<'_>,
    node: &Node,
    position: &str,
    input: &Value,
    tool: ToolCalled<'_>,
) -> Result<Arc<Value>, Halt> {
    run_held(holder, node, position, input, Some(tool)).await
}

async fn run_held(
    holder: Call<'_>,
    node: &Node,
    position: &str,
    input: &Value,
    tool: Option<ToolCalled<'_>>,
) -> Result<Arc<Value>, Halt> {
    let Value::Object(input) = input else {
        let message = format!("a node's input must be a mapping, but this is {}", python_text::repr(input));
        return Err(NodeError::new("TypeError", message).into());
    };
    let key = format!("{}{position}/{}", holder.within(), node.id);
    let call = Call { node, key: &key, attempt: 0, ..holder };
    let (nodes, results) = (FlowNodes::new(Vec::new()), Results::new(0));
    let source = Source { input, nodes: &nodes, results: &results, seen: &[] };
    // Boxed, because a contained node may contain nodes itself, which makes this future recursive.
    match Box::pin(run_node(call, source, tool)).await {
        Ended::With(NodeResult { status: Status::Success, output, .. }) => Ok(output),
        Ended::With(NodeResult { error, .. }) => {
            Err(error.unwrap_or_else(|| NodeError::new("Exception", "the node failed")).into())
        }
        Ended::Suspended => Err(Halt::Suspended),
        Ended::Stopped => Err(Halt::Stopped),
    }
}

/// Whether other nodes may have continued after the node's failure: then a retry of the run keeps the failure.
fn is_handled(node: &Node, source: &Source<'_>) -> bool {
    let on_failure = |index: u32| {
        let dependents = source.nodes.dependents(index).iter();
        dependents
            .flat_map(|dependent| &source.nodes.get(*dependent).depends)
            .any(|d| d.node == index && d.on_failure)
    };
    node.errors.behavior == Behavior::Return || source.nodes.find(&node.id).is_some_and(on_failure)
}

fn skipped(source: &Source<'_>, error: NodeError) -> NodeResult {
    NodeResult {
        status: Status::Skip,
        input: Input::Merged(source.seen.into()),
        output: Arc::new(Value::Null),
        size: Size::default(),
        error: Some(error),
    }
}

fn run_error(node: &Node, error: &NodeError) -> RunError {
    RunError { node: Some(node.id.to_string()), ..RunError::new(error.code(), error.message.clone()) }
}

fn run_input(source: &Source<'_>) -> Input {
    Input::Given(Arc::new(Value::Object(source.input.clone())))
}

/// A node's input.
struct Inputs {
    /// As the node's result shows it if the node succeeds.
    shown: Input,
    /// As the node is executed with it, and as its result shows it if the node fails.
    given: Arc<Value>,
}

/// The node's input, as `approved` if it needed approval. The error has the input that the node's result shows instead.
async fn inputs(
    run: &RunContext,
    node: &Node,
    source: &Source<'_>,
    approved: Option<&Approved>,
) -> Result<Inputs, (Input, NodeError)> {
    let transformed = match approved {
        Some(approved) => Arc::clone(&approved.input),
        None => transform(run, node, source).await.map_err(|error| (run_input(source), error))?,
    };
    let is_merged = node.input.is_identity() && node.mapping.is_empty() && approved.is_none();
    let given = node.kind.admit(Arc::clone(&transformed)).map_err(|error| (run_input(source), error))?;
    let shown = match dict(&given) {
        // Built from the other results on demand.
        Ok(Cow::Borrowed(_)) if is_merged && Arc::ptr_eq(&given, &transformed) => {
            Input::Merged(source.seen.into())
        }
        Ok(Cow::Borrowed(_)) => Input::Given(Arc::clone(&given)),
        Ok(Cow::Owned(shown)) => Input::Given(Arc::new(shown)),
        Err(error) => return Err((Input::Given(given), error)),
    };
    Ok(Inputs { shown, given })
}

async fn transform(run: &RunContext, node: &Node, source: &Source<'_>) -> Result<Arc<Value>, NodeError> {
    let mut input = if node.input.is_identity() {
        // Merging outputs that contain merged inputs can double the size from node to node.
        within_limits("input", source.size())?;
        source.without_inputs()
    } else {
        node.input.compute(run, Data::Source(source)).await?
    };
    for (key, value) in &node.mapping {
        let Value::Object(map) = &mut input else {
            return Err(NodeError::new("TypeError", "input_mapping needs an input that is a mapping"));
        };
        map.insert(key.clone(), value.clone());
    }
    Ok(Arc::new(input))
}

/// The output from the app's cache, or else that of the node's attempts.
async fn cached_attempts(call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
    let Some(cache) = call.services.cache.as_ref().filter(|_| call.node.cached) else {
        return attempts(call, input).await;
    };
    let key = CacheKey::new(call.node, call.run.new_run(), input);
    if let Some(output) = cache.get(&key) {
        return Ok(output);
    }
    let output = attempts(call, input).await?;
    cache.put(key, &output);
    Ok(output)
}

async fn attempts(call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
    let seed = (call.run.new_run().id, call.key);
    let errors = &call.node.errors;
    let attempt = |attempt| async move {
        let _stay = errors.timeout.map(|limit| call.rests.timeout(call.run.now() + limit));
        let executed = call.node.kind.execute(Call { attempt, ..call }, input).await;
        // Masked here, because a retry logs the error.
        executed.map_err(|halt| call.services.secrets.hide_in_halt(halt))
    };
    errors.attempts(seed, attempt).await
}

async fn finish(call: Call<'_>, output: Arc<Value>) -> Result<(Arc<Value>, Size), Halt> {
    let Call { node, run, .. } = call;
    let output = if node.output.is_identity() {
        output
    } else {
        Arc::new(node.output.compute(run, Data::Json(&output)).await?)
    };
    let size = Size::of(&output);
    if size.depth > MAX_NESTING {
        let message = format!("the output is nested deeper than {MAX_NESTING} levels");
        return Err(NodeError::new("RecursionError", message).lasting().into());
    }
    within_limits("output", size)?;
    run.take_memory(size.memory).map_err(|error| NodeError::limit_exceeded(error.to_string()))?;
    Ok((output, size))
}

/// Checks the size of an input or output: it is in memory, several times, and written to the log.
fn within_limits(what: &str, size: Size) -> Result<(), NodeError> {
    if size.values > MAX_OUTPUT_VALUES {
        let message = format!(
            "the {what} of the node holds more than {MAX_OUTPUT_VALUES} values (each object, array, scalar and key \
             counts): pass on less of it"
        );
        return Err(NodeError::limit_exceeded(message));
    }
    for (has, max, kind) in
        [(size.bytes, MAX_OUTPUT_BYTES, "as JSON"), (size.memory, MAX_OUTPUT_MEMORY, "of memory")]
    {
        if has > max {
            let max = max >> 20;
            let message =
                format!("the {what} of the node takes more than {max} MiB {kind}: pass on less of it");
            return Err(NodeError::limit_exceeded(message));
        }
    }
    Ok(())
}

/// The result that an earlier execution recorded. The journal holds only what cannot be computed again. A node's input
/// can: from the results of the nodes that had finished when it began.
async fn restore(
    call: Call<'_>,
    source: Source<'_>,
    done: &str,
    tool: Option<ToolCalled<'_>>,
) -> Option<NodeResult> {
    let recorded = call.run.recorded(done)?;
    let seen: Vec<u32> = recorded.journal["after"]
        .as_array()?
        .iter()
        .filter_map(|index| index.as_u64().and_then(|index| u32::try_from(index).ok()))
        .collect();
    let source = Source { seen: &seen, ..source };
    let error = || NodeError::from_json(&recorded.journal["error"]);
    let mut approved = None;
    if let Some(approval) = &call.node.approval
        && let Ok(input) = transform(call.run, call.node, &source).await
    {
        approved = approval.recorded(call, &input, tool).await;
        if let (Some(tool), Some(approved)) = (tool, &approved) {
            (tool.approved)(approved);
        }
    }
    let inputs = || inputs(call.run, call.node, &source, approved.as_ref());
    match recorded.body {
        EventBody::NodeCompleted { output, .. } => Some(NodeResult {
            status: Status::Success,
            input: inputs().await.map_or_else(|(input, _)| input, |inputs| inputs.shown),
            size: Size::of(&output),
            output,
            error: None,
        }),
        EventBody::NodeFailed { .. } => Some(NodeResult {
            status: Status::Failure,
            input: inputs().await.map_or_else(|(input, _)| input, |inputs| Input::Given(inputs.given)),
            output: Arc::new(Value::Null),
            size: Size::default(),
            error: Some(error()),
        }),
        EventBody::NodeSkipped { .. } => Some(skipped(&source, error())),
        _ => None,
    }
}
