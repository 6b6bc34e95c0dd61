//! Cursors: where a page of a list ended, as text for the caller.

use runyard_runs::{ListQuery, SortBy};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use uuid::Uuid;

/// Identifies the query that a cursor belongs to: a hash over all of it except the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueryHash([u8; 8]);

impl QueryHash {
    pub(super) fn of(query: &ListQuery) -> Self {
        let mut statuses: Vec<_> = query.statuses.iter().map(|status| status.name()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let mut metadata: Vec<_> = query.metadata.iter().collect();
        metadata.sort_unstable();
        let sort: Vec<_> = query
            .sort
            .iter()
            .map(|sort| {
                let by = match sort.by {
                    SortBy::StartedAt => "started_at",
                    SortBy::EndedAt => "ended_at",
                    SortBy::Status => "status",
                };
                (by, sort.descending)
            })
            .collect();
        let text = serde_json::json!([query.app, statuses, query.user_id, query.session_id, metadata, sort])
            .to_string();
        let mut hash = [0; 8];
        hash.copy_from_slice(&Sha256::digest(text)[..8]);
        Self(hash)
    }
}

/// The last row of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The index of its part of the order.
    pub(super) part: u8,
    /// The row's time, by which its part is ordered.
    pub(super) time: i64,
    pub(super) run: Uuid,
}

const LENGTH: usize = 8 + 1 + 8 + 16;

impl Cursor {
    pub(super) fn encode(&self, query: QueryHash) -> String {
        let bytes = query
            .0
            .into_iter()
            .chain([self.part])
            .chain(self.time.to_be_bytes())
            .chain(self.run.into_bytes());
        bytes.fold(String::with_capacity(LENGTH * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Parses a cursor of this query; `None` if the text is not one.
    pub(super) fn decode(text: &str, query: QueryHash) -> Option<Self> {
        let text: &[u8; LENGTH * 2] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit =
                |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(0)? << 4 | digit(1)?;
        }
        let (hash, rest) = bytes.split_first_chunk::<8>()?;
        let (part, rest) = rest.split_first()?;
        let (time, run) = rest.split_first_chunk::<8>()?;
        (*hash == query.0).then_some(Self {
            part: *part,
            time: i64::from_be_bytes(*time),
            run: Uuid::from_slice(run).ok()?,
        })
    }
}
