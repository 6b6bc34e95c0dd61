//! Errors of providers, with the names that the reference uses.

use crate::flow::NodeError;
use reqwest::StatusCode;
use std::time::Duration;

/// Why a model did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LlmError {
    /// Name of the reference's exception.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// HTTP status, if there was a response.
    pub(crate) status: Option<u16>,
    /// Whether the client retries within one attempt of the node.
    pub(crate) client_retries: bool,
    /// How long to wait before a retry, if the provider set it.
    pub(crate) retry_after: Option<Duration>,
}

impl LlmError {
    /// There was no valid response.
    pub(crate) fn connection(message: String) -> Self {
        Self { kind: "InternalServerError", message, status: None, client_retries: true, retry_after: None }
    }

    /// The response was incomplete.
    pub(crate) fn broken(message: String) -> Self {
        let is_limit = ["rate_limit", "throttlingException", "ThrottlingException", "RESOURCE_EXHAUSTED"];
        if is_limit.iter().any(|word| message.contains(word)) {
            return Self { kind: "RateLimitError", ..Self::connection(message) };
        }
        Self::connection(message)
    }

    /// The request or its response is not allowed: a retry cannot help.
    pub(crate) fn refused(message: String) -> Self {
        Self { kind: "BadRequestError", message, status: None, client_retries: false, retry_after: None }
    }

    /// The provider responded with an error status.
    pub(crate) fn status(
        provider: &str,
        status: StatusCode,
        text: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        let code = status.as_u16();
        Self {
            kind: kind(code, text),
            message: format!("{provider} answered {code}: {text}"),
            status: Some(code),
            client_retries: matches!(code, 408 | 409 | 429) || status.is_server_error(),
            retry_after,
        }
    }
}

/// Texts of errors about a conversation that is too long for the model.
const TOO_LONG: &[&str] = &[
    "context_length_exceeded",
    "maximum context length",
    "prompt is too long",
    "Input is too long",
    "exceeds the maximum number of tokens",
    "too many tokens",
];

fn kind(status: u16, text: &str) -> &'static str {
    match status {
        400 | 413 if TOO_LONG.iter().any(|words| text.contains(words)) => "ContextWindowExceededError",
        400 | 422 => "BadRequestError",
        401 => "AuthenticationError",
        404 => "NotFoundError",
        408 | 504 => "Timeout",
        429 => "RateLimitError",
        // 529: Anthropic is overloaded.
        500 | 529 => "InternalServerError",
        502 => "BadGatewayError",
        503 => "ServiceUnavailableError",
        _ => "APIError",
    }
}

impl From<LlmError> for NodeError {
    fn from(error: LlmError) -> Self {
        let node_error = Self::new(error.kind, error.message);
        let lasting = [
            "AuthenticationError",
            "PermissionDeniedError",
            "BadRequestError",
            "ContextWindowExceededError",
            "NotFoundError",
        ];
        if lasting.contains(&error.kind) { node_error.lasting() } else { node_error }
    }
}
