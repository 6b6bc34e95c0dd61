//! A data directory with many runs, inserted by SQL: through the store this would take minutes.

use runyard_embedded::{Embedded, Options};
use runyard_runs::{AppId, SystemClock, SystemIds};
use rusqlite::Connection;
use std::{fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use uuid::Uuid;

/// In the build directory, on a disk: the system's temporary directory may be in memory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

pub(crate) fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Arc::new(SystemClock), &SystemIds, Options::default()).expect("it opens")
}

pub(crate) const APP: AppId = AppId(Uuid::from_u128(7));

/// CPU time of the threads with this name, which excludes waiting and other processes.
pub(crate) fn cpu_of(thread: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|task| task.path());
    let named =
        tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread));
    let stats = named.filter_map(|task| fs::read_to_string(task.join("schedstat")).ok());
    Duration::from_nanos(stats.filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// Resident memory of this process, as text.
pub(crate) fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().trim().to_owned()
}

/// Inserts `count` runs of [`APP`], one every 100 ms. Of 100 runs, 90 completed, 5 failed, and 1 is in each other
/// state; 30 are of user `big`, 20 of session 1, 50 have `env=prod`, and each has one of 1,000 `customer`s.
pub(crate) fn fill(dir: &Path, count: u64) {
    drop(open(dir));
    let connection = Connection::open(dir.join("runyard.db")).expect("it opens");
    connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    connection.pragma_update(None, "cache_size", -200_000).expect("a pragma");
    connection
        .execute_batch(&format!("BEGIN; {FILL}; COMMIT;").replace(":count", &count.to_string()))
        .expect("it is filled");
}

const FILL: &str = r#"
CREATE TEMP TABLE new (id BLOB, n INTEGER, at INTEGER, reported INTEGER, status INTEGER, user TEXT, session BLOB);
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
INSERT INTO new SELECT
    unhex(printf('%012x70008000%012x', 1781082921000 + n * 100, n)), n, 1781082921000 + n * 100,
    CASE n % 100 WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 2 THEN 2 WHEN 3 THEN 3 WHEN 4 THEN 6
        WHEN 5 THEN 5 WHEN 6 THEN 5 WHEN 7 THEN 5 WHEN 8 THEN 5 WHEN 9 THEN 5 ELSE 4 END,
    CASE n % 100 WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 2 THEN 1 WHEN 3 THEN 2 WHEN 4 THEN 5
        WHEN 5 THEN 4 WHEN 6 THEN 4 WHEN 7 THEN 4 WHEN 8 THEN 4 WHEN 9 THEN 4 ELSE 3 END,
    CASE WHEN (n * 7) % 10 < 3 THEN 'big' WHEN n % 3 = 0 THEN 'user ' || (n % 997) END,
    CASE WHEN (n / 3) % 5 = 0 THEN unhex('00000000000000000000000000000001') END
FROM numbers;
INSERT INTO runs (id, app, created_at, expires_at, upto, status, reported, unanswered, ended_at, owner, worker, due, attempts,
    attempts_at, rev, session_id, user_id, metadata)
SELECT id, unhex('00000000000000000000000000000007'), at, at + 2592000000, 9, status, reported, reported = 2,
    CASE WHEN reported > 3 THEN at + 50 END, NULL, NULL, CASE WHEN reported < 2 THEN at + 60000 END, 0, 0, 1,
    session, user, CASE WHEN n % 2 THEN '{"customer":"c' || (n % 1000) || '"}'
        ELSE '{"customer":"c' || (n % 1000) || '","env":"prod"}' END
FROM new;
INSERT INTO metadata SELECT unhex('00000000000000000000000000000007'), 'customer', 'c' || (n % 1000), reported, at, id
FROM new ORDER BY 2, 3, 4, 5;
INSERT INTO metadata SELECT unhex('00000000000000000000000000000007'), 'env', 'prod', reported, at, id
FROM new WHERE n % 2 = 0 ORDER BY reported, at;
INSERT INTO log SELECT id, 0, 0, '{"id":"00000000-0000-0000-0000-000000000001","app":"00000000-0000-0000-0000-000000000007",'
    || '"app_version":"1d2fa4c1e2c34b1f","created_at":' || at || ',"expires_at":' || (at + 2592000000)
    || ',"input":{"text":"a ticket of some length, as somebody might write it, number ' || n || '"}}' FROM new;
INSERT INTO log SELECT id, 1, 9, '{"v":1,"w":"00000000-0000-0000-0000-000000000009","n":1,"t":' || at
    || ',"s":{"st":"completed","ep":1,"jo":0},"e":[{"type":"run.started"},{"type":"node.started","node":{"id":"input",'
    || '"name":"Input","type":"dynamiq.nodes.utils.Input"}},{"type":"run.completed","output":{"text":"' || n || '"}}]}' FROM new;
DROP TABLE new
"#;
