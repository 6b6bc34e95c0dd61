//! Reads a run to create from `multipart/form-data`: the same fields as in JSON, in any order, and files.

use crate::{
    Api,
    body::{Pieces, too_deep, too_many_values},
    error::Error,
    fields::Fields,
    multipart::Multipart,
    upload::{SLACK, Uploads},
    wire::MOST_FILES,
};
use http::StatusCode;
use runyard_runs::{App, FieldErrors, JsonError, MAX_INPUT_VALUES, is_too_deep, parse_json};
use serde_json::{Map, Value};

/// The type of a field.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Flag,
    Json,
}

/// The fields that are read; others are skipped.
const FIELDS: [(&str, Kind); 8] = [
    ("input", Kind::Json),
    ("user_id", Kind::Text),
    ("session_id", Kind::Text),
    ("stream", Kind::Flag),
    ("background", Kind::Flag),
    ("file_ids", Kind::Json),
    ("metadata", Kind::Json),
    ("callbacks", Kind::Json),
];

/// Reads the whole form. Files are written as they arrive, and exist only after [`Uploads::finish`].
pub(crate) async fn read(
    api: &Api,
    app: &App,
    pieces: Pieces,
    boundary: &str,
    hashed: bool,
) -> Result<(Fields, Uploads), Error> {
    let mut form = Multipart::new(pieces, boundary);
    let mut uploads = Uploads::new(&api.service, app, hashed);
    let (mut object, mut errors) = (Map::new(), FieldErrors::new());
    let mut left = usize::try_from(api.config.json_bytes).unwrap_or(usize::MAX);
    let expires_at = api.clock.now() + app.lifetime() + SLACK;
    while let Some(part) = form.part().await? {
        if part.name == "files" {
            if uploads.len() == MOST_FILES {
                return Err(Error::bad("files", format!("a run takes at most {MOST_FILES} files")));
            }
            uploads.receive(api, app, part, &mut form, expires_at).await?;
        } else if let Some((name, kind)) = FIELDS.iter().find(|(name, _)| *name == part.name) {
            let text = text(&mut form, name, &mut left).await?;
            match value(&text, *kind) {
                Ok(Some(value)) => {
                    object.insert((*name).to_owned(), value);
                }
                Ok(None) => {}
                Err(ValueError::TooManyValues(error)) => return Err(too_many_values(name, &error)),
                Err(ValueError::Wrong(problem)) => {
                    errors.insert((*name).to_owned(), problem);
                }
            }
        }
    }
    Ok((Fields::with_errors(object, errors), uploads))
}

/// Reads the content of a field. All fields together are limited to the size of a JSON body.
async fn text(form: &mut Multipart, name: &str, left: &mut usize) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    while let Some(piece) = form.content().await? {
        *left = left.checked_sub(piece.len()).ok_or_else(|| {
            let problem =
                "the fields without the files are too large: together they have the limit of a JSON body";
            Error::of(StatusCode::PAYLOAD_TOO_LARGE, name, problem)
        })?;
        text.extend_from_slice(&piece);
    }
    Ok(text)
}

/// An error in the value of a field.
enum ValueError {
    TooManyValues(JsonError),
    Wrong(String),
}

/// Parses the value of a field; an empty one counts as omitted, since browsers send empty fields.
fn value(text: &[u8], kind: Kind) -> Result<Option<Value>, ValueError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |problem: &str| Err(ValueError::Wrong(problem.to_owned()));
    match kind {
        Kind::Json => match parse_json(text, MAX_INPUT_VALUES) {
            Ok(value) if is_too_deep(&value) => Err(ValueError::Wrong(too_deep())),
            Ok(value) => Ok(Some(value)),
            Err(error @ JsonError::TooManyValues { .. }) => Err(ValueError::TooManyValues(error)),
            Err(JsonError::Invalid(error)) => Err(ValueError::Wrong(format!("is not valid JSON: {error}"))),
        },
        Kind::Text => match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => wrong("must be UTF-8"),
        },
        Kind::Flag => match text {
            b"true" => Ok(Some(true.into())),
            b"false" => Ok(Some(false.into())),
            _ => wrong("must be true or false"),
        },
    }
}
