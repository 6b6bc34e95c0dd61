//! What an AWS error means to a port.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use runyard_runs::StoreError;
use std::error::Error;

/// What a failed call means: whether it may have been done after all, or may be if it is asked again.
///
/// A condition that failed is no error, and is to be taken out of it first.
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
    let text = DisplayErrorContext(error).to_string();
    if is_unknown { StoreError::Unknown(text.into()) } else { StoreError::Failed(text.into()) }
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
