//! The common part of calls to all providers: sending requests, reading responses, and handling errors.

use super::{Endpoint, LlmError};
use crate::{
    egress::{Http, RequestError, explain},
    http_client::MAX_ANSWER,
};
use reqwest::{RequestBuilder, Response, header};
use runyard_runs::{JsonError, MAX_OUTPUT_VALUES, parse_json};
use serde_json::Value;
use std::time::Duration;

/// Characters of an error's text that are kept.
const MAX_ERROR_TEXT: usize = 2000;
/// The most tokens that one response may count: a higher count is wrong, and sums of such counts would overflow.
const MAX_TOKENS: u64 = 1 << 40;
/// How much of an error response is read.
const MAX_ERROR_BYTES: usize = 256 << 10;

impl Endpoint {
    /// Sends a request. Fails if the response has an error status. `finish` adds headers and body.
    pub(super) async fn post(
        &self,
        http: &Http,
        url: &str,
        finish: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, LlmError> {
        let (client, url) = http.open(url).map_err(|refused| LlmError::refused(refused.to_string()))?;
        let mut request = client.post(url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = http.send(finish(request)).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = retry_after(&response);
        // Only the start of a long error is read.
        let text = read_start(response).await;
        Err(LlmError::status(self.provider, status, &error_text(&String::from_utf8_lossy(&text)), wait))
    }

    /// Reads a response as JSON.
    pub(super) async fn json(&self, response: Response) -> Result<Value, LlmError> {
        let text = self.whole(response).await?;
        parse_json(&text, MAX_OUTPUT_VALUES).map_err(|error| match error {
            JsonError::TooManyValues { .. } => {
                LlmError::refused(format!("the answer of {} {error}", self.provider))
            }
            JsonError::Invalid(_) => {
                LlmError::connection(format!("{} did not respond with valid JSON", self.provider))
            }
        })
    }

    /// Reads the bytes of a response.
    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, LlmError> {
        let mut whole = Vec::new();
        while let Some(piece) =
            response.chunk().await.map_err(|error| LlmError::connection(explain(&error)))?
        {
            if whole.len() + piece.len() > MAX_ANSWER {
                let limit = MAX_ANSWER >> 20;
                let message = format!("the answer of {} is larger than {limit} MiB", self.provider);
                return Err(LlmError::refused(message));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Parses an event of a stream.
    pub(super) fn piece(&self, data: &str) -> Result<Value, LlmError> {
        parse_json(data.as_bytes(), MAX_OUTPUT_VALUES)
            .map_err(|_| LlmError::broken(format!("{} sent an event that is not valid JSON", self.provider)))
    }

    /// The error that a provider reported within a stream or response.
    pub(super) fn broke_off(&self, text: &str) -> LlmError {
        LlmError::broken(format!(
            "{} reported an error during its response: {}",
            self.provider,
            error_text(text)
        ))
    }
}

impl From<RequestError> for LlmError {
    fn from(unanswered: RequestError) -> Self {
        match unanswered {
            RequestError::Connection(why) => Self::connection(why),
            RequestError::Request(why) | RequestError::Redirect(why) => Self::refused(why),
        }
    }
}

/// The first bytes of a response.
async fn read_start(mut response: Response) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < MAX_ERROR_BYTES
        && let Ok(Some(piece)) = response.chunk().await
    {
        text.extend_from_slice(&piece[..piece.len().min(MAX_ERROR_BYTES - text.len())]);
    }
    text
}

/// A number of tokens that a provider tells; nothing if it is none.
pub(super) fn tokens(told: &Value) -> Option<u64> {
    told.as_u64().map(|tokens| tokens.min(MAX_TOKENS))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = header("retry-after-ms")
        .map(|milliseconds| milliseconds / 1000.0)
        .or_else(|| header(header::RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The message of `{"error": {"message"}}` or `{"message"}`, with its code; else the text unchanged.
pub(super) fn error_text(text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    // Some providers return an error in a list.
    let answer = answer.get(0).unwrap_or(&answer);
    let error = &answer["error"];
    let message = error["message"].as_str().or_else(|| error.as_str()).or_else(|| answer["message"].as_str());
    let mut message: String = message.unwrap_or(text).chars().take(MAX_ERROR_TEXT).collect();
    if let Some(code) = error["code"].as_str() {
        message = format!("{message} ({code})");
    }
    message
}
