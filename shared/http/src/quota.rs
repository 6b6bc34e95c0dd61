//! Checks `limits.stored_bytes` before a body is read.

use crate::{
    Api,
    body::{Content, Pieces},
    error::Error,
};
use axum::body::Body;
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use runyard_runs::{
    App,
    service::quota::{self, QuotaExceeded},
};
use std::time::Duration;

/// `Retry-After`: stored bytes decrease as runs and files expire, which takes hours, or by an operator.
const RETRY: Duration = Duration::from_hours(1);

/// Returns the body unread if the app may store more, and the announced size of an upload fits.
pub(crate) async fn admit(
    api: &Api,
    app: &App,
    headers: &HeaderMap,
    content: &Content,
    body: Body,
) -> Result<Body, Error> {
    let announced: Option<u64> =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let refusal = match (api.service.left_to_store(app).await, announced, content) {
        (Err(error), ..) => error.into(),
        (Ok(left), Some(announced), Content::Multipart { .. }) if announced > left => {
            let quota = app.limits.stored_bytes;
            QuotaExceeded { used: (quota - left).saturating_add(announced), quota }.into()
        }
        (Ok(_), ..) => return Ok(body),
    };
    Err(Pieces::of_multipart(headers, body, &api.config).refused(refusal).await)
}

impl From<quota::Error> for Error {
    fn from(error: quota::Error) -> Self {
        match error {
            quota::Error::Exceeded(exceeded) => exceeded.into(),
            quota::Error::Store(error) => error.into(),
        }
    }
}

impl From<QuotaExceeded> for Error {
    fn from(QuotaExceeded { used, quota }: QuotaExceeded) -> Self {
        let problem = format!(
            "is {quota} bytes, and with this request the app would have stored {used} or more: wait until runs and files \
             expire, or have the app's operator lower `retention_days` for new runs or raise the limit"
        );
        Self::of(StatusCode::TOO_MANY_REQUESTS, "limits.stored_bytes", problem).retry_after(RETRY)
    }
}
