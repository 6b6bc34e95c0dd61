//! What `cargo fuzz` tries, and the tests replay: what reads bodies and query strings.

use crate::{
    Config,
    body::{Content, Pieces},
    multipart::{Multipart, Part},
    query::Query,
    routes::list_runs,
};
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Uri, header::CONTENT_TYPE};
use runyard_fuzzing::{Target, parts, pieces};
use runyard_runs::{AppId, PageStart};
use std::convert::Infallible;
use uuid::Uuid;

/// The targets of this crate.
pub const TARGETS: &[Target] = &[("multipart", multipart), ("query", query)];

/// The content type of a body, how it is cut, and the body.
///
/// # Panics
///
/// If a promise is broken.
pub fn multipart(input: &[u8]) {
    let [kind, cuts, content] = parts(input);
    let Ok(kind) = HeaderValue::from_bytes(kind) else { return };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
    let Ok(Content::Multipart { boundary }) = Content::of(&headers) else { return };
    let pieces = pieces(cuts, content);
    let whole = read(&boundary, vec![pieces.concat()]);
    assert_eq!(read(&boundary, pieces), whole, "the cuts show");
}

/// The parts of a body, or the refusal.
fn read(boundary: &str, pieces: Vec<Vec<u8>>) -> Result<Vec<(Part, Vec<u8>)>, String> {
    let pieces = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
    let body = Body::from_stream(stream::iter(pieces));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let pieces = Pieces::of_multipart(&HeaderMap::new(), body, &Config::default());
        let mut multipart = Multipart::new(pieces, boundary);
        let mut parts = Vec::new();
        while let Some(part) = multipart.part().await.map_err(|error| format!("{error:?}"))? {
            let mut content = Vec::new();
            while let Some(piece) = multipart.content().await.map_err(|error| format!("{error:?}"))? {
                content.extend_from_slice(&piece);
            }
            parts.push((part, content));
        }
        Ok(parts)
    })
}

/// A query string, of a list of runs.
///
/// # Panics
///
/// If a promise is broken.
pub fn query(input: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/v1/runs?", input].concat()) else { return };
    let mut plain = Query::of(&uri);
    let _ = plain.parsed::<u64>("after", "must be a number");
    drop(plain.check());
    if let Ok((query, number)) = list_runs::parse(AppId(Uuid::nil()), &uri) {
        assert!((1..=100).contains(&query.page_size) && !query.sort.is_empty());
        assert_eq!(number.is_none(), matches!(query.start, PageStart::Cursor(_)));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn corpora() {
        runyard_fuzzing::replay(super::TARGETS);
    }
}
