//! `RunStore`: runs and their logs.

use crate::make::{self, at_once, checkpoints, claim, entry, record};
use runyard_runs::{Append, Create, EventBody, LogRange, LogRead, RunId, RunStore, Sequence};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

type Store = Arc<dyn RunStore>;

/// A timeout that is only reached if a promise is broken.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A second create under the same id changes nothing.
pub async fn create_is_put_if_absent(store: Store) {
    let run = make::run(make::app());
    assert_eq!(store.create(&run, &record()).await.unwrap(), Create::Done);
    let mut other = make::run(make::app());
    other.id = run.id;
    let mut other_record = record();
    other_record.rev = 9;
    assert_eq!(store.create(&other, &other_record).await.unwrap(), Create::Exists);
    let stored = store.get(run.id).await.unwrap().unwrap();
    assert_eq!((stored.new, stored.record, stored.last), (run, record(), None));
}

/// Of many concurrent creates of one run, exactly one succeeds.
pub async fn creators_race_for_one_run(store: Store) {
    let app = make::app();
    let id = make::run(app).id;
    let created = at_once(16, |index| {
        let (store, mut run) = (Arc::clone(&store), make::run(app));
        run.id = id;
        run.user_id = Some(format!("user {index}"));
        async move { (store.create(&run, &record()).await.unwrap(), run) }
    })
    .await;
    let done: Vec<_> = created.iter().filter(|(create, _)| *create == Create::Done).collect();
    assert_eq!(done.len(), 1);
    assert_eq!(store.get(id).await.unwrap().unwrap().new, done[0].1);
}

/// A second append to the same slot changes nothing, and no append changes the record.
pub async fn append_is_put_if_absent(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    let first = entry(run.id, 1, claim(), vec![EventBody::RunStarted]);
    let second = entry(run.id, 1, claim(), vec![EventBody::RunCanceled]);
    assert_eq!(store.append(&first).await.unwrap(), Append::Done);
    assert_eq!(store.append(&second).await.unwrap(), Append::Taken);
    assert_eq!(store.append(&first).await.unwrap(), Append::Taken);
    let log = store.read(run.id, 1).await.unwrap().unwrap();
    assert_eq!((log.entries, log.record, log.more), (vec![first], record(), false));
}

/// Of many concurrent appends to one slot, exactly one succeeds, and its entry is stored.
pub async fn writers_race_for_one_place(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    for first in 1..=10 {
        let appends = at_once(16, |index| {
            let store = Arc::clone(&store);
            let entry = checkpoints(run.id, first, claim(), 1, index);
            // Half of them commit the record, too.
            async move {
                let append = if index % 2 == 0 {
                    store.append(&entry).await.unwrap()
                } else {
                    let change = runyard_runs::RecordChange { upto: Some(first), ..Default::default() };
                    store.commit(&entry, &change, &runyard_runs::Guard::Always).await.unwrap()
                };
                (append, entry)
            }
        })
        .await;
        let done: Vec<_> = appends.iter().filter(|(append, _)| *append == Append::Done).collect();
        assert_eq!(done.len(), 1, "at {first}");
        assert!(appends.iter().all(|(append, _)| *append != Append::Refused));
        assert_eq!(store.read(run.id, first).await.unwrap().unwrap().entries, [done[0].1.clone()]);
    }
}

/// Writers that append at the end of the log produce a log without gaps, which has each of their entries once.
pub async fn writers_race_through_a_log(store: Store) {
    const WRITERS: usize = 6;
    const ENTRIES_PER_WRITER: u64 = 8;
    let run = make::run(make::app()).id;
    let mut new = make::run(make::app());
    new.id = run;
    store.create(&new, &record()).await.unwrap();
    let writers = at_once(WRITERS, |index| {
        let (store, writer) = (Arc::clone(&store), claim());
        async move {
            let mut next: Sequence = 1;
            for nonce in 0..ENTRIES_PER_WRITER {
                loop {
                    let mut entry = checkpoints(run, next, writer, index % 3 + 1, 10);
                    entry.nonce = nonce;
                    if store.append(&entry).await.unwrap() == Append::Done {
                        next = entry.last() + 1;
                        break;
                    }
                    let log = store.read(run, next).await.unwrap().unwrap();
                    next = log.entries.last().expect("the slot was taken").last() + 1;
                }
            }
            writer
        }
    })
    .await;
    let log = store.read(run, 1).await.unwrap().unwrap();
    let mut next = 1;
    for entry in &log.entries {
        assert_eq!(entry.first, next);
        next = entry.last() + 1;
    }
    for writer in writers {
        let nonces: Vec<_> =
            log.entries.iter().filter(|entry| entry.writer == writer).map(|entry| entry.nonce).collect();
        assert_eq!(nonces, (0..ENTRIES_PER_WRITER).collect::<Vec<_>>());
    }
}

/// Entries are read as they were written, and all reads agree.
pub async fn what_is_written_is_read(store: Store) {
    let mut run = make::run(make::app());
    run.user_id = Some("user / \u{1f642}\0".to_owned());
    run.session_id = Some(make::claim().0);
    run.metadata = [("Key".to_owned(), "value".to_owned()), ("a b".to_owned(), String::new())].into();
    store.create(&run, &record()).await.unwrap();
    let head = store.head(run.id).await.unwrap().unwrap();
    assert_eq!((head.app, head.expires_at, head.last), (run.app, run.expires_at, None));
    let writer = claim();
    let mut written = Vec::new();
    let mut first = 1;
    for (count, bytes) in [(1, 0), (3, 100), (2, 40_000), (1, 700_000), (1, 1)] {
        let entry = checkpoints(run.id, first, writer, count, bytes);
        assert_eq!(store.append(&entry).await.unwrap(), Append::Done);
        first = entry.last() + 1;
        written.push(entry);
        let head = store.head(run.id).await.unwrap().unwrap();
        let stored = store.get(run.id).await.unwrap().unwrap();
        assert_eq!(head.last.as_ref(), written.last());
        assert_eq!((stored.last, stored.record, stored.new), (head.last, head.record, run.clone()));
    }
    assert_eq!(store.read(run.id, 1).await.unwrap().unwrap().entries, written);
    assert_eq!(store.read(run.id, 0).await.unwrap().unwrap().entries, written);
}

/// A read from the middle of an entry begins with that entry; a read after the end is empty.
pub async fn read_starts_at_the_entry_that_holds_a_sequence(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    // 1 | 2 3 4 | 5 6 | 7
    for (first, count) in [(1, 1), (2, 3), (5, 2), (7, 1)] {
        store.append(&checkpoints(run.id, first, claim(), count, 0)).await.unwrap();
    }
    for (from, holder) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5), (7, 7)] {
        let log = store.read(run.id, from).await.unwrap().unwrap();
        assert_eq!(log.entries.first().map(|entry| entry.first), Some(holder), "from {from}");
        assert_eq!(log.entries.last().map(|entry| entry.first), Some(7), "from {from}");
    }
    for from in [8, 1000] {
        assert_eq!(store.read(run.id, from).await.unwrap().unwrap().entries, []);
    }
}

/// A range ends with the entry that contains its end; with a limit of 0 bytes, entries are read one by one.
pub async fn ranges_are_read_alone(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    // 1 | 2 3 4 | 5 6 | 7 | 8 | 9 | 10 | 11
    let slots = [(1, 1), (2, 3), (5, 2), (7, 1), (8, 1), (9, 1), (10, 1), (11, 1)];
    for (first, count) in slots {
        store.append(&checkpoints(run.id, first, claim(), count, 0)).await.unwrap();
    }
    let firsts = |log: &LogRead| log.entries.iter().map(|entry| entry.first).collect::<Vec<_>>();
    for from in 0..=13 {
        for to in from..=13 {
            let range = LogRange { from, to, bytes: 1 << 20 };
            let log = store.read_range(run.id, range).await.unwrap().unwrap();
            let expected: Vec<Sequence> = slots
                .iter()
                .filter(|(first, count)| first + *count as Sequence > from && *first <= to)
                .map(|(first, _)| *first)
                .collect();
            assert_eq!((firsts(&log), log.more), (expected.clone(), false), "{from} to {to}");
            let (mut next, mut one_by_one) = (from, Vec::new());
            loop {
                let range = LogRange { from: next, to, bytes: 0 };
                let log = store.read_range(run.id, range).await.unwrap().unwrap();
                assert!(log.entries.len() <= 1, "{from} to {to}");
                one_by_one.extend(firsts(&log));
                assert_eq!(log.more, one_by_one.len() < expected.len(), "{from} to {to} at {next}");
                let Some(last) = log.entries.last().filter(|_| log.more) else { break };
                next = last.last() + 1;
            }
            assert_eq!(one_by_one, expected, "{from} to {to}");
        }
    }
}

/// A log of several MiB is read completely and in order, at once or in pieces of at least 1 MiB.
pub async fn long_logs_are_read_in_pieces(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    let writer = claim();
    let mut written = Vec::new();
    for first in 1..=90 {
        let entry = checkpoints(run.id, first, writer, 1, 30_000);
        store.append(&entry).await.unwrap();
        written.push(entry);
    }
    let mut read = Vec::new();
    loop {
        let log = store.read(run.id, read.len() as u64 + 1).await.unwrap().unwrap();
        assert!(!log.entries.is_empty());
        assert!(log.entries.len() >= 33 || !log.more, "a piece has at least 1 MiB");
        read.extend(log.entries);
        if !log.more {
            break;
        }
    }
    assert_eq!(read, written);
    let range = LogRange { from: 40, to: 41, bytes: 1 << 20 };
    assert_eq!(store.read_range(run.id, range).await.unwrap().unwrap().entries, written[39..41]);
}

/// A run that was not created cannot be read or written.
pub async fn there_is_no_run_where_none_was_created(store: Store) {
    let id = make::run(make::app()).id;
    let entry = entry(id, 1, claim(), vec![EventBody::RunStarted]);
    let change = runyard_runs::RecordChange { upto: Some(1), ..Default::default() };
    let guard = runyard_runs::Guard::Always;
    assert_eq!(store.commit(&entry, &change, &guard).await.unwrap(), Append::Refused);
    assert_eq!(store.update(id, &change, &guard).await.unwrap(), runyard_runs::Update::Refused);
    assert_eq!(store.read(id, 1).await.unwrap(), None);
    assert_eq!(store.head(id).await.unwrap(), None);
    assert_eq!(store.get(id).await.unwrap(), None);
}

/// A task that waits for a log to grow is woken when it does.
pub async fn changed_wakes_on_an_append(store: Store) {
    let app = make::app();
    let (run, other) = (make::run(app), make::run(app));
    store.create(&run, &record()).await.unwrap();
    store.create(&other, &record()).await.unwrap();
    for first in 1..=20 {
        let waiting = {
            let store = Arc::clone(&store);
            let id = run.id;
            tokio::spawn(async move {
                let begun = Instant::now();
                store.changed(id, first - 1, TIMEOUT).await;
                begun.elapsed()
            })
        };
        // In half of the rounds the task is waiting by now, in the others it may or may not be.
        if first % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        store.append(&checkpoints(other.id, first, claim(), 1, 0)).await.unwrap();
        store.append(&checkpoints(run.id, first, claim(), 1, 0)).await.unwrap();
        assert!(waiting.await.unwrap() < TIMEOUT / 2);
    }
}

/// A wait for an entry that exists returns at once.
pub async fn changed_returns_at_once_if_the_log_is_ahead(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    store.append(&checkpoints(run.id, 1, claim(), 3, 0)).await.unwrap();
    let begun = Instant::now();
    for after in 0..3 {
        store.changed(run.id, after, TIMEOUT).await;
    }
    assert!(begun.elapsed() < TIMEOUT / 2);
}

/// A wait for an entry that is never appended ends after the given time.
pub async fn changed_gives_up_in_time(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    let waited = tokio::time::timeout(TIMEOUT, async {
        store.changed(run.id, 0, Duration::from_millis(20)).await;
        store.changed(RunId(make::claim().0), 0, Duration::from_millis(20)).await;
    });
    assert!(waited.await.is_ok());
}
