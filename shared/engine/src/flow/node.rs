//! One node: what all kinds have in common, and how it is run.

use super::{
    Approval, Approved, Behavior, Branches, CacheKey, Depend, ErrorHandling, FlowNodes, Listed, NodeError,
    Offer, Rests, Results, Source, Status, ToolCalled,
    announce::announcements,
    approval::Verdict,
    depends,
    depends::Refused,
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
    /// Whether a call outside that may have been made already may be made once more.
    pub(crate) idempotent: bool,
    pub(crate) depends: Vec<Depend>,
    /// Only for nodes that join branches.
    pub(crate) branches: Option<Branches>,
    /// Whether its outputs may be kept for runs that give it the same input.
    pub(crate) cached: bool,
}

/// A node before its flow is known: what [`Node`] has, without what ties it to others.
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

/// What a kind of node does.
///
/// One file for each kind in `nodes/`. The flow does all that is the same for every kind: dependencies, transformers,
/// timeouts, retries, records and events.
#[async_trait]
pub(crate) trait Kind: fmt::Debug + Send + Sync {
    /// Does it. Called again for each retry.
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt>;

    /// Checks the input against the schema that the kind has, and fills in what it lacks; once, before it is executed.
    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        Ok(input)
    }

    /// Another way to get the output, once all tries have failed.
    async fn rescue(
        &self,
        _call: Call<'_>,
        _input: &Arc<Value>,
        error: NodeError,
    ) -> Result<Arc<Value>, Halt> {
        Err(error.into())
    }

    /// The options that others can depend on.
    fn options(&self) -> &[String] {
        &[]
    }

    /// What a model is told of it that may call it as a tool.
    fn offer(&self) -> Offer {
        Offer::default()
    }

    /// Whether it is no tool itself, but stands for those that a server has.
    fn is_server(&self) -> bool {
        false
    }

    /// The tools that it stands for; asked once a run of an agent, and journaled there. A call of one executes the node with
    /// `{tool, arguments}`.
    async fn list(&self, _call: Call<'_>) -> Result<Vec<Listed>, Halt> {
        Ok(Vec::new())
    }

    /// The role that it has for the run as a whole.
    fn role(&self) -> Role<'_> {
        Role::Step
    }
}

/// The role of a node for the run as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// It takes the run's input, which its schema describes.
    Input(Option<&'a crate::schema::Schema>),
    /// It gives the run's output, and joins branches.
    Output,
    /// Anything else.
    Step,
}

/// What a kind of node is given beside its input. Cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) run: &'a RunContext,
    pub(crate) services: &'a Services,
    pub(crate) rests: &'a Rests,
    pub(crate) node: &'a Node,
    /// The node's name in the journal, unique in the run: its id, after those of the nodes that it is within.
    pub(crate) key: &'a str,
    /// How many tries failed before this one.
    pub(crate) attempt: u32,
}

impl Call<'_> {
    /// What the names of nodes that this one holds begin with in the journal. A further try runs them again, so it names
    /// them anew: what the failed one recorded stands.
    pub(crate) fn within(&self) -> String {
        match self.attempt {
            0 => format!("{}/", self.key),
            attempt => format!("{}~{attempt}/", self.key),
        }
    }
}

/// Why a node gives no output.
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
/// `tool`: whose call it is, if an agent makes it.
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
            // Tried again by a retry of the run, its calls are no longer in flight.
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
        Err(Refused::Fail(error)) => return failed(run_input(&source), error),
        Err(Refused::Skip(error)) => return skip(error),
    }
    let mut approved = None;
    if let Some(approval) = &node.approval {
        // Nobody is asked about what cannot be.
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

/// Runs a node that another holds, with `input` as all that it sees; `place` tells it from others in the same holder.
pub(crate) async fn run_within(
    holder: Call<'_>,
    node: &Node,
    place: &str,
    input: &Value,
) -> Result<Arc<Value>, Halt> {
    run_held(holder, node, place, input, None).await
}

/// [`run_within`] for an agent that calls it as a tool.
pub(crate) async fn run_tool(
    holder: Call<'_>,
    node: &Node,
    place: &str,
    input: &Value,
    tool: ToolCalled<'_>,
) -> Result<Arc<Value>, Halt> {
    run_held(holder, node, place, input, Some(tool)).await
}

async fn run_held(
    holder: Call<'_>,
    node: &Node,
    place: &str,
    input: &Value,
    tool: Option<ToolCalled<'_>>,
) -> Result<Arc<Value>, Halt> {
    let Value::Object(input) = input else {
        let message = format!("a node's input must be a mapping, but this is {}", python_text::repr(input));
        return Err(NodeError::new("TypeError", message).into());
    };
    let key = format!("{}{place}/{}", holder.within(), node.id);
    let call = Call { node, key: &key, attempt: 0, ..holder };
    let (nodes, results) = (FlowNodes::new(Vec::new()), Results::new(0));
    let source = Source { input, nodes: &nodes, results: &results, seen: &[] };
    // A node that holds others is itself run by this function, so its future must be kept apart.
    match Box::pin(run_node(call, source, tool)).await {
        Ended::With(NodeResult { status: Status::Success, output, .. }) => Ok(output),
        Ended::With(NodeResult { error, .. }) => {
            Err(error.unwrap_or_else(|| NodeError::new("Exception", "the node failed")).into())
        }
        Ended::Suspended => Err(Halt::Suspended),
        Ended::Stopped => Err(Halt::Stopped),
    }
}

/// Whether others may have gone on from the node's failure: then a retry of the run keeps it.
fn is_handled(node: &Node, source: &Source<'_>) -> bool {
    let on_failure = |place: u32| {
        let dependents = source.nodes.dependents(place).iter();
        dependents
            .flat_map(|dependent| &source.nodes.get(*dependent).depends)
            .any(|d| d.node == place && d.on_failure)
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
    /// As the result of a node that succeeded shows it.
    shown: Input,
    /// As the node is given it, and as the result of a node that failed shows it.
    given: Arc<Value>,
}

/// The node's input, as it was `approved` if it had to be; or why there is none, and the input that the result then shows.
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
        // Built from the other results when somebody wants to see it.
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
        // Merged again and again, outputs double from node to node.
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

/// An output that the app's cache has, or else what the node's tries give.
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
        // Here, before it is logged that it is tried again.
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

/// What a node is given and gives is held in memory, several times at that, and written to the log.
fn within_limits(what: &str, size: Size) -> Result<(), NodeError> {
    if size.values > MAX_OUTPUT_VALUES {
        let message = format!(
            "the {what} of the node holds more than {MAX_OUTPUT_VALUES} values (each object, array, scalar and key \
             counts): pass on less of it"
        );
        return Err(NodeError::limit_exceeded(message));
    }
    for (has, most, kind) in
        [(size.bytes, MAX_OUTPUT_BYTES, "as JSON"), (size.memory, MAX_OUTPUT_MEMORY, "of memory")]
    {
        if has > most {
            let most = most >> 20;
            let message =
                format!("the {what} of the node takes more than {most} MiB {kind}: pass on less of it");
            return Err(NodeError::limit_exceeded(message));
        }
    }
    Ok(())
}

/// The result that an earlier execution recorded. The journal holds what cannot be worked out again; a node's input
/// can, from the nodes that had finished when it began.
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
        .filter_map(|place| place.as_u64().and_then(|place| u32::try_from(place).ok()))
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
