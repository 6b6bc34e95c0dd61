//! Cursors: the position where a page of a list ended, as text.

use runyard_runs::{COUNT_CAP, ListQuery, SortBy};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Identifies the query that a cursor belongs to: a hash of all its fields except the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueryHash([u8; 8]);

impl QueryHash {
    pub(super) fn of(query: &ListQuery) -> Self {
        let mut statuses: Vec<_> = query.statuses.iter().map(|status| status.name()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let mut metadata: Vec<_> = query.metadata.iter().collect();
        metadata.sort_unstable();
        metadata.dedup();
        let by = |by| match by {
            SortBy::StartedAt => "started_at",
            SortBy::EndedAt => "ended_at",
            SortBy::Status => "status",
        };
        let sort: Vec<_> = query.sort.iter().map(|sort| (by(sort.by), sort.descending)).collect();
        let text = serde_json::json!([query.app, statuses, query.user_id, query.session_id, metadata, sort]);
        let mut hash = [0; 8];
        hash.copy_from_slice(&Sha256::digest(text.to_string())[..8]);
        Self(hash)
    }
}

/// The number of runs on all pages, as counted for the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Total {
    /// The count, at most [`COUNT_CAP`].
    pub(super) count: u64,
    /// Whether there are more, or may be.
    pub(super) capped: bool,
}

/// The position of the last run of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Its [`at_key`](crate::table::at_key).
    pub(super) at: [u8; 22],
    pub(super) total: Total,
}

const LENGTH: usize = 8 + 22 + 3;

impl Cursor {
    pub(super) fn encode(&self, query: QueryHash) -> String {
        let count = u16::try_from(self.total.count).unwrap_or(u16::MAX).to_be_bytes();
        let bytes = query.0.into_iter().chain(self.at).chain(count).chain([u8::from(self.total.capped)]);
        bytes.fold(String::with_capacity(LENGTH * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Parses a cursor of this query; `None` if it is invalid or belongs to another query.
    pub(super) fn decode(text: &str, query: QueryHash) -> Option<Self> {
        let text: &[u8; LENGTH * 2] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit =
                |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(0)? << 4 | digit(1)?;
        }
        let (hash, rest) = bytes.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<22>()?;
        let (count, capped) = rest.split_first_chunk::<2>()?;
        let count = u64::from(u16::from_be_bytes(*count));
        let capped = match capped {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let is_valid = *hash == query.0 && count <= COUNT_CAP;
        is_valid.then_some(Self { at: *at, total: Total { count, capped } })
    }
}
