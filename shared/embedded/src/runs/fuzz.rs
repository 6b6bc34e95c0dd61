//! Cursors.

use super::{
    cursor::{Cursor, QueryHash},
    list::Plan,
};
use runyard_fuzzing::{parts, text};
use runyard_runs::{AppId, ListQuery, PageStart, Sort, SortBy};
use uuid::Uuid;

/// A cursor, the user whose runs are listed, and their order. `HASH` in the cursor stands for what names the query.
///
/// # Panics
///
/// If a promise is broken.
pub fn cursor(input: &[u8]) {
    let [written, user, sort] = parts(input);
    let by = |byte: &u8| match byte {
        b's' => Some(SortBy::Status),
        b'e' => Some(SortBy::EndedAt),
        b'b' => Some(SortBy::StartedAt),
        _ => None,
    };
    let mut query = ListQuery {
        app: AppId(Uuid::nil()),
        statuses: Vec::new(),
        user_id: (!user.is_empty()).then(|| text(user).into_owned()),
        session_id: None,
        metadata: Vec::new(),
        sort: sort.iter().filter_map(by).map(|by| Sort { by, descending: true }).collect(),
        start: PageStart::Offset(0),
        page_size: 25,
    };
    if query.sort.is_empty() {
        query.sort.push(Sort { by: SortBy::StartedAt, descending: true });
    }
    let hash = QueryHash::of(&query);
    let named = Cursor { part: 0, time: 0, run: Uuid::nil() }.encode(hash);
    let written = text(written).replace("HASH", &named[..16]);
    if let Some(cursor) = Cursor::decode(&written, hash) {
        assert_eq!(cursor.encode(hash), written.to_ascii_lowercase());
    }
    query.start = PageStart::Cursor(written);
    drop(Plan::of(&query));
}
