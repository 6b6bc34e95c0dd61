//! A model and its settings, for LLM nodes and for nodes that contain a model.

use super::{
    endpoint::endpoint,
    fallback::Fallback,
    parameters::{self, Fit},
    provider::Provider,
    recover,
    repair::repair,
};
use crate::{
    flow::{Call, ErrorHandling, Halt, NodeError},
    llm::{CallError, Endpoint, Piece, Pieces, Reply, Request},
    load::{Fields, Loading, error_handling},
    prompt::Prompt,
};
use runyard_runs::{EventBody, Price};
use serde_json::{Map, Value, json};

/// A model and its settings.
#[derive(Debug)]
pub(crate) struct Model {
    endpoint: Endpoint,
    parameters: Map<String, Value>,
    fit: Fit,
    errors: ErrorHandling,
    fallback: Option<Fallback<Box<Model>>>,
}

/// A request to a model. Unset fields are taken from the model's settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// The conversation. All fields have the format of the chat completions API.
    pub(crate) messages: Vec<Value>,
    /// The tools that the model may call.
    pub(crate) tools: Vec<Value>,
    pub(crate) tool_choice: Option<Value>,
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) response_format: Option<Value>,
    pub(crate) stop: Option<Vec<String>>,
    /// Whether to stream the answer.
    pub(crate) stream: bool,
}

impl Model {
    /// Reads a model inside another node: a mapping with the type of any LLM node. If it is invalid, reports an error
    /// and returns `None`. `id` is used unless the mapping has one.
    pub(crate) fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let Some(type_path) = fields.text("type") else {
            if fields.get("type").is_none() {
                fields.mistake(fields.yaml.spot, "the model lacks its `type`".into());
            }
            return None;
        };
        let provider = match super::provider_of(type_path) {
            Ok(provider) => provider,
            Err(problem) => {
                fields.mistake(fields.spot("type"), problem);
                return None;
            }
        };
        let id = fields.text("id").unwrap_or(id);
        let fallback = Fallback::read(id, fields, |id, llm| Self::read(id, llm, loading).map(Box::new));
        let prompt = Prompt::of_node(fields, loading);
        let errors = error_handling(fields, super::TIMEOUT);
        Some(Self { errors, fallback, ..Self::alone(provider, id, fields, prompt.as_ref(), loading)? })
    }

    /// Reads the model of an LLM node, without timeout, retries and fallback: those are the node's.
    pub(super) fn alone(
        provider: &Provider,
        id: &str,
        fields: Fields<'_>,
        prompt: Option<&Prompt>,
        loading: &Loading<'_>,
    ) -> Option<Self> {
        let endpoint = endpoint(provider, id, fields, loading);
        let mut parameters = parameters::read(provider, fields, prompt);
        let endpoint = endpoint?;
        let fit = parameters::fit(provider, &endpoint.model, fields, &mut parameters);
        Some(Self { endpoint, parameters, fit, errors: ErrorHandling::default(), fallback: None })
    }

    /// The name that is sent to the provider.
    pub(crate) fn name(&self) -> &str {
        &self.endpoint.model
    }

    /// Returns the reply that is journaled under `key`; or calls the model, and journals and returns its reply.
    ///
    /// Retries as the model's `error_handling` says, then calls its fallback. `key` is unique in the run. Only replies
    /// are journaled; a replay does not repeat their pieces.
    pub(crate) async fn ask(
        &self,
        call: Call<'_>,
        key: &str,
        ask: &Ask,
        piece: &Pieces<'_>,
    ) -> Result<Reply, Halt> {
        if let Some(recorded) = call.run.recorded(key) {
            return serde_json::from_value(recorded.journal).map_err(|error| {
                let message = format!("the journal entry `{key}` is not a reply of a model: {error}");
                NodeError::new("ValueError", message).lasting().into()
            });
        }
        let reply = self.answer(call, key, ask, piece).await?;
        call.run.record(key, EventBody::RunCheckpoint, Some(json!(reply)));
        Ok(reply)
    }

    async fn answer(&self, call: Call<'_>, key: &str, ask: &Ask, piece: &Pieces<'_>) -> Result<Reply, Halt> {
        let tried =
            self.errors.attempts((call.run.new_run().id, key), |_| self.once(call, ask.clone(), piece)).await;
        match (tried, &self.fallback) {
            (Err(Halt::Failed(error)), Some(fallback)) if fallback.applies(&error) => {
                match Box::pin(fallback.llm.answer(call, key, ask, piece)).await {
                    Err(Halt::Failed(_)) => Err(error.into()),
                    other => other,
                }
            }
            (tried, _) => tried,
        }
    }

    /// Makes one attempt.
    pub(super) async fn once(&self, call: Call<'_>, ask: Ask, piece: &Pieces<'_>) -> Result<Reply, Halt> {
        let is_streamed = ask.stream;
        // If only the model requires streaming, the pieces are not passed on.
        let piece = |received: Piece<'_>| {
            if is_streamed {
                piece(received);
            }
        };
        let mut request = self.request(ask);
        let price = call.services.price(self.endpoint.provider, self.name());
        for _ in 0..recover::MOST {
            match self.call(call, &request, price, &piece).await {
                Err(Halt::Failed(error)) => match recover::recovered(&request, &error) {
                    Some(recovered) => request = recovered,
                    None => return Err(error.into()),
                },
                other => return other,
            }
        }
        self.call(call, &request, price, &piece).await
    }

    async fn call(
        &self,
        call: Call<'_>,
        request: &Request,
        price: Option<Price>,
        piece: &Pieces<'_>,
    ) -> Result<Reply, Halt> {
        // Reserved until the call has ended.
        let _reserved = call.services.reserve(call.run, self.name(), price, request.size()).await?;
        match self.endpoint.ask(call.run, &call.services.http, request, price, piece).await {
            Ok(reply) if reply.is_blocked() => {
                let message =
                    format!("the provider's content filter blocked the answer of `{}`", self.name());
                Err(NodeError::new("LLMContentFilteredError", message).into())
            }
            Ok(reply) => Ok(reply),
            Err(CallError::Failed(error)) => Err(NodeError::from(error).into()),
            Err(CallError::Stopped) => Err(Halt::Stopped),
        }
    }

    fn request(&self, ask: Ask) -> Request {
        let Ask { mut messages, tools, tool_choice, parallel_tool_calls, response_format, stop, stream } =
            ask;
        if self.fit.system_as_user {
            for message in messages.iter_mut().filter(|message| message["role"] == "system") {
                message["role"] = "user".into();
            }
        }
        let mut parameters = self.parameters.clone();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                parameters.insert(name.to_owned(), value);
            }
        };
        set("tools", (!tools.is_empty()).then(|| tools.into()));
        set("tool_choice", tool_choice);
        set("parallel_tool_calls", parallel_tool_calls.map(Value::from));
        set("response_format", response_format);
        set("stop", stop.filter(|stop| !stop.is_empty() && !self.fit.endless).map(Value::from));
        if parameters.contains_key("tools") {
            messages = repair(messages);
        } else {
            parameters.remove("tool_choice");
        }
        Request { messages, parameters, stream }
    }
}
