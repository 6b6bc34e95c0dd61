//! Maps AWS errors to the ports' errors.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use runyard_runs::StoreError;
use std::error::Error;

/// Maps the error of a call: `Unknown` if the call may have taken effect, or may succeed when repeated; else `Failed`.
///
/// A failed condition is not an error: callers must handle it first.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it by value")]
pub(crate) fn store_error<E, R>(error: SdkError<E, R>) -> StoreError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let is_unknown = match &error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(service) => is_temporary(service.err().code()),
        // A timeout, a lost connection, or a response that cannot be parsed.
        _ => true,
    };
    let text = match &error {
        SdkError::ServiceError(service) => {
            let (code, message) = (service.err().code(), service.err().message());
            format!("{}: {}", code.unwrap_or("no code"), message.unwrap_or("no message"))
        }
        error => chain(error),
    };
    if is_unknown { StoreError::Unknown(text.into()) } else { StoreError::Failed(text.into()) }
}

/// The text of an error and its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The error code of an error response.
pub(crate) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// Whether a write had no effect because it conflicted with a transaction.
pub(crate) fn is_conflict(code: Option<&str>) -> bool {
    matches!(code, Some("TransactionConflictException"))
}

/// Whether this error code is temporary: throttles, conflicts and failures of AWS itself.
fn is_temporary(code: Option<&str>) -> bool {
    !matches!(
        code,
        Some(
            "AccessDenied"
                | "AccessDeniedException"
                | "AWS.SimpleQueueService.NonExistentQueue"
                | "ConditionalCheckFailedException"
                | "ExpiredTokenException"
                | "IdempotentParameterMismatchException"
                | "InvalidSignatureException"
                | "ItemCollectionSizeLimitExceededException"
                | "MissingAuthenticationTokenException"
                | "NoSuchBucket"
                | "NoSuchKey"
                | "QueueDoesNotExist"
                | "ResourceNotFoundException"
                | "SerializationException"
                | "UnrecognizedClientException"
                | "ValidationException"
        )
    )
}
