//! `POST /v1/files`: stores one file for later runs of this app.

use super::json;
use crate::{
    Api,
    auth::WithKey,
    body::{Content, Pieces},
    error::{
        BadRequest, Error, Forbidden, InternalServerError, NotFound, PayloadTooLarge, RequestTimeout,
        ServiceUnavailable, TooManyRequests, Unauthorized, UnsupportedMediaType,
    },
    fields::CANNOT_BE_BLANK,
    multipart::Multipart,
    quota,
    upload::Uploads,
    wire::{FileAnswer, UploadFileForm},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use std::sync::Arc;

/// Stores one file for later runs of this app, which list it in `file_ids`. Needs a key, even if the app is public. Kept for
/// twice as long as a run of the app, so that a run created in the first half of that time never loses it.
#[utoipa::path(
    post,
    path = "/v1/files",
    operation_id = "create_file",
    tag = "files",
    request_body(content = UploadFileForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The file is stored.", body = FileAnswer),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 408, response = RequestTimeout),
        (status = 413, response = PayloadTooLarge),
        (status = 415, response = UnsupportedMediaType),
        (status = 429, response = TooManyRequests),
        (status = 500, response = InternalServerError),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn handle(
    State(api): State<Api>,
    WithKey(caller): WithKey,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let content = Content::of(&parts.headers)?;
    let Content::Multipart { boundary } = &content else {
        let problem = "send multipart/form-data with a part `file`: presigned uploads are not supported yet";
        return Err(Error::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type", problem));
    };
    let body = quota::admit(&api, &caller.app, &parts.headers, &content, body).await?;
    let pieces = Pieces::of_multipart(&parts.headers, body, &api.config);
    let mut form = Multipart::new(pieces, boundary);
    let mut uploads = Uploads::new(&api.service, &caller.app, false);
    let expires_at = api.clock.now() + 2 * caller.app.lifetime();
    while let Some(part) = form.part().await? {
        if part.name != "file" {
            continue;
        }
        if !uploads.is_empty() {
            return Err(Error::bad("file", "is given more than once: send one file per request"));
        }
        uploads.receive(&api, &caller.app, part, &mut form, expires_at).await?;
    }
    if uploads.is_empty() {
        return Err(Error::bad("file", CANNOT_BE_BLANK));
    }
    let stored = uploads.finish(Arc::clone(&api.files), Arc::clone(&caller.app)).await?;
    let Some(file) = stored.files().first() else { return Err(Error::internal("no file was stored")) };
    json(StatusCode::OK, &FileAnswer { data: file.into() })
}
