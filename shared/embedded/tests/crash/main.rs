//! A killed process leaves everything that it acknowledged, and nothing incomplete.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod writer;

use futures::TryStreamExt;
use runyard_embedded::{Embedded, Error, Options};
use runyard_runs::{
    AppId, Clock, FileId, FileStore, Guard, RecordChange, RunId, RunStatus, RunStore, SystemClock, SystemIds,
};
use rusqlite::Connection;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;
use writer::Writer;

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Arc::new(SystemClock), &SystemIds, Options::default()).unwrap()
}

/// Reads the first `count` lines, or all until `holding`, kills the process, and appends the lines that it had still
/// written.
fn read_and_kill(mut child: Writer, count: usize) -> Vec<String> {
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut read: Vec<_> = lines.by_ref().take_while(|line| line != "holding").take(count).collect();
    drop(child);
    read.extend(lines);
    read
}

/// After a kill at any time, each acknowledged write exists, logs have no gap, and records match their entries.
#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for count in [1, 40, 333, 800] {
        acknowledged.extend(read_and_kill(writer::start(dir.path(), u64::MAX), count));
        let embedded = open(dir.path());
        let (runs, files) = (embedded.runs(), embedded.files());
        for line in &acknowledged {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["run", run] => assert!(runs.get(run.parse().unwrap()).await.unwrap().is_some(), "{line}"),
                ["entry", run, sequence] => {
                    let (run, sequence): (RunId, u64) = (run.parse().unwrap(), sequence.parse().unwrap());
                    let log = runs.read(run, 1).await.unwrap().unwrap();
                    assert!(log.entries.len() as u64 >= sequence, "{line}");
                    assert!(log.entries.iter().zip(1..).all(|(entry, first)| entry.first == first));
                    assert_eq!((log.record.upto, log.record.status), (1, RunStatus::Started));
                }
                ["file", file] => {
                    let (app, id) = (AppId(Uuid::nil()), FileId(file.parse().unwrap()));
                    let pieces: Vec<_> =
                        files.open(app, id).await.unwrap().unwrap().try_collect().await.unwrap();
                    assert!(pieces.concat() == vec![7; 500_000], "{line}");
                }
                // A line that the kill truncated.
                _ => {}
            }
        }
        let stored = stored_files(dir.path());
        let known: i64 = Connection::open(dir.path().join("runyard.db"))
            .unwrap()
            .query_row("SELECT count(*) FROM files", (), |row| row.get(0))
            .unwrap();
        assert_eq!(i64::try_from(stored.len()).unwrap(), known, "no content without a row");
        let uploads = fs::read_dir(dir.path().join("uploads")).unwrap().count();
        assert_eq!(uploads, 0, "unfinished uploads are removed");
    }
    assert!(acknowledged.len() > 1000);
}

fn stored_files(dir: &Path) -> Vec<PathBuf> {
    let app = dir.join("files").join(Uuid::nil().to_string());
    fs::read_dir(app).into_iter().flatten().map(|file| file.unwrap().path()).collect()
}

/// The runs of a process become due once it is dead, and not before: when another process opens the directory, or has
/// it open.
#[tokio::test]
async fn runs_of_a_dead_process_are_due_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let held_open = open(dir.path());
    let mut expected = 0;
    for reopen in [true, false] {
        let mut child = writer::start(dir.path(), 2);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let runs = lines.take_while(|line| line != "holding").filter(|line| line.starts_with("run ")).count();
        assert_eq!(runs, 16);
        assert_eq!(held_open.suspect_dead_workers().await.unwrap(), 0, "the process is alive");
        drop(open(dir.path()));
        assert_eq!(
            held_open.runs().due(SystemClock.now(), 100).await.unwrap().len(),
            expected,
            "the process is alive"
        );
        drop(child);
        expected += runs;
        if reopen {
            drop(open(dir.path()));
        } else {
            assert_eq!(held_open.suspect_dead_workers().await.unwrap(), runs);
        }
        let due = held_open.runs().due(SystemClock.now(), 100).await.unwrap();
        assert_eq!(due.len(), expected);
        for (_, run) in due {
            let record = held_open.runs().head(run).await.unwrap().unwrap().record;
            assert!(record.owner.is_some() && record.due.unwrap() <= SystemClock.now());
            assert_eq!(record.rev, 2, "a writer that read the record before must retry");
        }
        assert_eq!(held_open.suspect_dead_workers().await.unwrap(), 0, "nothing is left to do");
    }
    assert_eq!(fs::read_dir(dir.path().join("workers")).unwrap().count(), 1, "only that of this process");
}

/// While two processes write to one directory, one is notified of the other's appends.
#[tokio::test]
async fn appends_of_another_process_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let here = open(dir.path());
    let mut child = writer::start(dir.path(), u64::MAX);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let runs = here.runs();
    let begun = Instant::now();
    for _ in 0..5 {
        let line = lines.find(|line| line.starts_with("run ")).unwrap();
        let run: RunId = line[4..].parse().unwrap();
        for after in 0..4 {
            while runs.head(run).await.unwrap().unwrap().last.map_or(0, |entry| entry.last()) <= after {
                runs.changed(run, after, Duration::from_mins(1)).await;
            }
        }
        // This process writes, too.
        runs.update(run, &RecordChange::default(), &Guard::Always).await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(child);
}

#[test]
fn a_database_of_a_later_release_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    assert_eq!(fs::metadata(dir.path().join("files")).unwrap().permissions().mode() & 0o777, 0o700);
    let database = dir.path().join("runyard.db");
    Connection::open(&database).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let refused = Embedded::open(dir.path(), Arc::new(SystemClock), &SystemIds, Options::default());
    let error = refused.err().unwrap();
    assert!(matches!(error, Error::Newer { found: 999, .. }), "{error}");
    assert!(error.to_string().contains("use the release that created it"), "{error}");
}

#[tokio::test]
async fn a_closed_database_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let run = runyard_conformance::make::run(AppId(Uuid::nil()));
    embedded.runs().create(&run, &runyard_conformance::make::record()).await.unwrap();
    drop(embedded);
    let exists = |name: &str| dir.path().join(name).exists();
    assert!(exists("runyard.db") && !exists("runyard.db-wal") && !exists("runyard.db-shm"));
    assert!(open(dir.path()).runs().get(run.id).await.unwrap().is_some());
}
