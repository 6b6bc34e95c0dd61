//! `Idempotency-Key`, and the hash that compares requests: parsed, not byte by byte.

use crate::{auth::Caller, error::Error, upload::Received, wire::CreateRun};
use http::{HeaderMap, HeaderName};
use runyard_runs::{RunId, service::create::Idempotency};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use uuid::{Uuid, Variant};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Characters of a key.
const MAX_KEY_LENGTH: usize = 255;

/// Returns the header, if it was sent.
///
/// A caller that repeats a request with its key gets the run, including its output. All callers without an access key share
/// one scope, so their keys must not be guessable or collide: they must be random UUIDs.
pub(crate) fn key(headers: &HeaderMap, caller: &Caller) -> Result<Option<String>, Error> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let wrong = |problem: &str| Err(Error::bad("Idempotency-Key", problem));
    if given.next().is_some() {
        return wrong("is given more than once");
    }
    let Ok(key) = std::str::from_utf8(key.as_bytes()) else { return wrong("must be UTF-8") };
    if !(1..=MAX_KEY_LENGTH).contains(&key.chars().count()) {
        return wrong("must have 1 to 255 characters");
    }
    if caller.key().is_none() && !is_random_uuid(key) {
        return wrong(
            "must be a random UUID (version 4) without an access key: anyone who repeats it gets the run",
        );
    }
    Ok(Some(key.to_owned()))
}

fn is_random_uuid(key: &str) -> bool {
    Uuid::try_parse(key)
        .is_ok_and(|uuid| uuid.get_version_num() == 4 && uuid.get_variant() == Variant::RFC4122)
}

/// Returns the key in the scope of its caller, with the hash of the request.
pub(crate) fn of(key: String, caller: &Caller, request: &CreateRun, files: &[Received]) -> Idempotency {
    let mut hash = Hash(Sha256::new());
    hash.request(request, files);
    let request = hash.0.finalize().into();
    Idempotency { key, caller: caller.key().unwrap_or_default().to_owned(), request }
}

/// Returns the key in the scope of its caller, with the hash of a request to retry `run`.
pub(crate) fn of_retry(key: String, caller: &Caller, run: RunId) -> Idempotency {
    let mut hash = Hash(Sha256::new());
    let _ = write!(hash, "retry {run}");
    let request = hash.0.finalize().into();
    Idempotency { key, caller: caller.key().unwrap_or_default().to_owned(), request }
}

/// Hashes a canonical text of a request: JSON with sorted keys and without whitespace.
struct Hash(Sha256);

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

impl Hash {
    fn request(&mut self, request: &CreateRun, files: &[Received]) {
        self.object(&request.input);
        let CreateRun { user_id, session_id, stream, background, file_ids, metadata, .. } = request;
        // The debug format of these is unambiguous: strings are quoted and escaped.
        let _ = write!(self, "{user_id:?} {session_id:?} {stream} {background} {file_ids:?} {metadata:?}");
        for Received { name, mime_type, size, sha256 } in files {
            let _ = write!(self, " {name:?} {mime_type:?} {size} {sha256:?}");
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(object) => self.object(object),
            Value::Array(list) => {
                self.0.update("[");
                for item in list {
                    self.value(item);
                    self.0.update(",");
                }
                self.0.update("]");
            }
            scalar => {
                let _ = write!(self, "{scalar}");
            }
        }
    }

    fn object(&mut self, object: &Map<String, Value>) {
        let mut fields: Vec<_> = object.iter().collect();
        fields.sort_unstable_by_key(|(name, _)| name.as_str());
        self.0.update("{");
        for (name, value) in fields {
            let _ = write!(self, "{name:?}:");
            self.value(value);
            self.0.update(",");
        }
        self.0.update("}");
    }
}
