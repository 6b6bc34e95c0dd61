//! What calls to all providers have in common: how they are sent, and what is made of answers that are none.

use super::{Endpoint, LlmError};
use crate::egress::{Http, Unanswered, explain};
use reqwest::{RequestBuilder, Response, header};
use serde_json::Value;
use std::time::Duration;

/// How much of an error's text is kept.
const MAX_ERROR_TEXT: usize = 2000;

impl Endpoint {
    /// Sends a request; an answer that is an error is an error. `finish` adds headers and body.
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
        let text = response.text().await.unwrap_or_default();
        Err(LlmError::status(self.provider, status, &error_text(&text), wait))
    }

    /// An answer that is JSON as a whole.
    pub(super) async fn json(&self, response: Response) -> Result<Value, LlmError> {
        let text = response.bytes().await.map_err(|error| LlmError::connection(explain(&error)))?;
        serde_json::from_slice(&text)
            .map_err(|_| LlmError::connection(format!("{} answered no JSON", self.provider)))
    }

    /// A piece of a stream.
    pub(super) fn piece(&self, data: &str) -> Result<Value, LlmError> {
        serde_json::from_str(data)
            .map_err(|_| LlmError::broken(format!("{} sent a piece that is no JSON", self.provider)))
    }

    /// The error that a stream or an answer reports in its middle.
    pub(super) fn broke_off(&self, text: &str) -> LlmError {
        LlmError::broken(format!("{} broke off: {}", self.provider, error_text(text)))
    }
}

impl From<Unanswered> for LlmError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Connection(why) => Self::connection(why),
            Unanswered::Request(why) | Unanswered::Redirect(why) => Self::refused(why),
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = header("retry-after-ms")
        .map(|milliseconds| milliseconds / 1000.0)
        .or_else(|| header(header::RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The message of `{"error": {"message"}}` or `{"message"}`, with its code; else the text as it came.
pub(super) fn error_text(text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    // Some providers wrap even an error in a list.
    let answer = answer.get(0).unwrap_or(&answer);
    let error = &answer["error"];
    let message = error["message"].as_str().or_else(|| error.as_str()).or_else(|| answer["message"].as_str());
    let mut message: String = message.unwrap_or(text).chars().take(MAX_ERROR_TEXT).collect();
    if let Some(code) = error["code"].as_str() {
        message = format!("{message} ({code})");
    }
    message
}
