//! What an AWS error means to a port.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use runyard_runs::StoreError;
use std::error::Error;

/// What a failed call means: whether it may have been done after all, or may be if it is asked again.
///
/// A condition that failed is no error, and is to be taken out of it first.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(crate) fn store_error<E, R>(error: SdkError<E, R>) -> StoreError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let is_unknown = match &error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(service) => may_pass(service.err().code()),
        // A time-out, a lost connection, an answer that cannot be read.
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

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The code of an answer that tells an error.
pub(crate) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// Whether nothing was done because a transaction was in the way.
pub(crate) fn is_conflict(code: Option<&str>) -> bool {
    matches!(code, Some("TransactionConflictException"))
}

/// Whether an answer with this error code is due to the moment: throttles, conflicts and failures of AWS itself.
fn may_pass(code: Option<&str>) -> bool {
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
