//! An engine whose workflow is the input of the run, and a clock that can be moved.

use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use runyard_runs::{
    App, Asked, BoxError, Clock, Engine, EventBody, FieldErrors, File, InputRequest, InputRequestKind,
    NodeRef, Outcome, RequestId, RunContext, RunError, SystemClock, Timestamp, Warning,
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Executes `input.do`, a list of commands, in order; the output is the list of their results.
///
/// | command | what it does |
/// | --- | --- |
/// | `{"say": text}` | emits the text as `llm.delta`, after [`RunContext::outside`]; returns the command |
/// | `{"step": key, "wait_ms": n}` | a journaled step of `n` ms, counted when it begins; returns the key |
/// | `{"wait_ms": n}` | a call outside of `n` ms without events; returns the command |
/// | `{"compute_ms": n}` | computes for `n` ms without a call outside; returns the command |
/// | `{"ask": prompt, "expires_ms": n}` | asks a person; returns the answer, or `"expired"` |
/// | `{"approve": params, "editable": [name, …], "schema": …, "accept_pattern": …}` | asks for approval; returns the answer |
/// | `{"rest_ms": n}` | rests for `n` ms; returns `"rested"` |
/// | `{"branches": [commands, …]}` | executes several lists concurrently; returns the list of their outputs |
/// | `{"fail": message}`, `{"panic": message}` | fails or panics with the message |
/// | `{"flaky": key}` | fails the first time, then returns the key |
/// | anything else | returns the command |
#[derive(Debug, Default)]
pub struct Scripted {
    begun: Mutex<HashMap<String, u32>>,
}

impl Scripted {
    /// How often the step with this key has begun.
    pub fn begun(&self, key: &str) -> u32 {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(0)
    }

    fn begin(&self, key: &str) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_default() += 1;
    }

    /// Executes a list of commands; `path` is its path in the input.
    fn commands<'a>(
        &'a self,
        run: &'a RunContext,
        path: String,
        commands: &'a [Value],
    ) -> BoxFuture<'a, Result<Value, Outcome>> {
        Box::pin(async move {
            let mut output = Vec::new();
            for (index, command) in commands.iter().enumerate() {
                output.push(self.command(run, &format!("{path}{index}"), command).await?);
            }
            Ok(output.into())
        })
    }

    async fn command(&self, run: &RunContext, path: &str, command: &Value) -> Result<Value, Outcome> {
        let text = |name: &str| command.get(name).and_then(Value::as_str);
        let millis =
            |name: &str| Duration::from_millis(command.get(name).and_then(Value::as_u64).unwrap_or(0));
        let wait = millis("wait_ms");
        if let Some(delta) = text("say") {
            run.outside().await.map_err(|_| Outcome::Suspended)?;
            let node = NodeRef { id: "say".into(), name: "say".into(), kind: "test".into() };
            run.emit(EventBody::LlmDelta { node: Arc::new(node), delta: delta.to_owned() });
        } else if let Some(key) = text("step") {
            let work = async {
                self.begin(key);
                tokio::time::sleep(wait).await;
                Value::from(key)
            };
            return run.step(key, work).await.map_err(|_| Outcome::Suspended);
        } else if let Some(prompt) = text("ask") {
            let expires_in = millis("expires_ms");
            let request = InputRequest {
                id: RequestId(run.new_run().id.0),
                kind: InputRequestKind::HumanFeedback,
                prompt: prompt.to_owned(),
                params: Map::new(),
                editable_params: Vec::new(),
                schema: Map::new(),
                accept_pattern: None,
                expires_at: (!expires_in.is_zero()).then(|| run.now() + expires_in),
            };
            let asked = |request| EventBody::AgentHumanFeedbackRequested { request };
            return match run.ask(&format!("ask:{path}"), request, asked) {
                Asked::Answered(answer) => Ok(answer),
                Asked::Expired => Ok(Value::from("expired")),
                Asked::Pending => Err(Outcome::Suspended),
            };
        } else if let Some(params) = command.get("approve").and_then(Value::as_object) {
            let names = command.get("editable").and_then(Value::as_array).map(Vec::as_slice);
            let names = names.unwrap_or_default().iter().filter_map(Value::as_str);
            let request = InputRequest {
                id: RequestId(run.new_run().id.0),
                kind: InputRequestKind::ApprovalRequest,
                prompt: "may it?".to_owned(),
                params: params.clone(),
                editable_params: names.map(str::to_owned).collect(),
                schema: command.get("schema").and_then(Value::as_object).cloned().unwrap_or_default(),
                accept_pattern: text("accept_pattern").map(str::to_owned),
                expires_at: None,
            };
            let asked = |request| EventBody::ApprovalRequestCreated { request };
            return match run.ask(&format!("approve:{path}"), request, asked) {
                Asked::Answered(answer) => Ok(answer),
                Asked::Expired => Ok(Value::from("expired")),
                Asked::Pending => Err(Outcome::Suspended),
            };
        } else if let Some(ms) = command.get("rest_ms").and_then(Value::as_u64) {
            let key = format!("rest:{path}");
            let Some(recorded) = run.recorded(&key) else {
                let until = run.now() + Duration::from_millis(ms);
                run.record(&key, EventBody::RunCheckpoint, Some(until.0.into()));
                run.outside().await.map_err(|_| Outcome::Suspended)?;
                return Err(Outcome::Resting(until));
            };
            let until = Timestamp(recorded.journal.as_i64().unwrap_or_default());
            return if until > run.now() { Err(Outcome::Resting(until)) } else { Ok("rested".into()) };
        } else if let Some(branches) = command.get("branches").and_then(Value::as_array) {
            let branches = branches.iter().enumerate().map(|(index, commands)| {
                let commands = commands.as_array().map(Vec::as_slice).unwrap_or_default();
                self.commands(run, format!("{path}.{index}."), commands)
            });
            // Branches that do not wait go on.
            return combined(join_all(branches).await);
        } else if let Some(key) = text("flaky") {
            self.begin(key);
            if self.begun(key) == 1 {
                return Err(Outcome::Failed(RunError::new("node_failed", "not yet")));
            }
            return Ok(key.into());
        } else if let Some(message) = text("fail") {
            return Err(Outcome::Failed(RunError::new("node_failed", message)));
        } else if let Some(message) = text("panic") {
            panic!("{message}");
        } else if let Some(ms) = command.get("compute_ms").and_then(Value::as_u64) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        } else if !wait.is_zero() {
            run.outside().await.map_err(|_| Outcome::Suspended)?;
            tokio::time::sleep(wait).await;
        }
        Ok(command.clone())
    }
}

/// The outcome of several branches: a failure, else the earliest end of a rest, else a suspension, else the list of
/// their outputs.
fn combined(branches: Vec<Result<Value, Outcome>>) -> Result<Value, Outcome> {
    let mut outputs = Vec::new();
    let mut waits = None;
    for branch in branches {
        match (branch, &waits) {
            (Ok(output), _) => outputs.push(output),
            (Err(Outcome::Resting(until)), Some(Outcome::Resting(first))) if until >= *first => {}
            (Err(Outcome::Suspended), Some(_)) => {}
            (Err(outcome @ (Outcome::Resting(_) | Outcome::Suspended)), _) => waits = Some(outcome),
            (Err(outcome), _) => return Err(outcome),
        }
    }
    waits.map_or_else(|| Ok(outputs.into()), Err)
}

#[async_trait]
impl Engine for Scripted {
    async fn check_app(&self, _app: &App) -> Result<Vec<Warning>, BoxError> {
        Ok(Vec::new())
    }

    async fn check_input(
        &self,
        _app: &App,
        input: &Map<String, Value>,
        _files: &[File],
    ) -> Result<(), FieldErrors> {
        if input.get("do").is_some_and(Value::is_array) {
            return Ok(());
        }
        Err(FieldErrors::from([("do".to_owned(), "must be a list of commands".to_owned())]))
    }

    async fn execute(&self, _app: &App, run: RunContext) -> Outcome {
        let commands = run.new_run().input.get("do").and_then(Value::as_array).cloned().unwrap_or_default();
        match self.commands(&run, String::new(), &commands).await {
            Ok(output) => Outcome::Completed(output.into()),
            Err(outcome) => outcome,
        }
    }
}

/// The system's clock plus an offset.
#[derive(Debug, Default)]
pub struct MovedClock {
    offset_ms: AtomicI64,
}

impl MovedClock {
    /// Moves the clock forward.
    pub fn forward(&self, by: Duration) {
        self.offset_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.offset_ms.load(Ordering::Relaxed))
    }
}
