//! `RunStore`: records, guards, idempotency keys, due and expired runs.

use crate::make::{self, NOW, at_once, checkpoints, claim, ended, entry, record};
use runyard_runs::{
    Append, EventBody, Field, Guard, IdempotencyItem, Record, RecordChange, RunId, RunStatus, RunStore,
    Sequence, Timestamp, Update,
};
use std::{sync::Arc, time::Duration};

type Store = Arc<dyn RunStore>;

async fn of(store: &Store, run: RunId) -> Record {
    store.head(run).await.unwrap().unwrap().record
}

/// If the slot is taken or the guard does not hold, nothing is written; otherwise both the entry and the record are.
pub async fn commit_is_all_or_nothing(store: Store) {
    let run = make::run(make::app());
    let owner = claim();
    let mut before = record();
    before.owner = Some(owner);
    store.create(&run, &before).await.unwrap();
    let first = entry(run.id, 1, owner, vec![EventBody::RunStarted]);
    let change = RecordChange {
        upto: Some(1),
        status: Some(RunStatus::Started),
        due: Field::Set(Timestamp(NOW.0 + 1)),
        ..Default::default()
    };
    let stranger = Guard::Owner(claim());
    assert_eq!(store.commit(&first, &change, &stranger).await.unwrap(), Append::Refused);
    let log = store.read(run.id, 1).await.unwrap().unwrap();
    assert_eq!((log.record, log.entries), (before.clone(), vec![]));

    assert_eq!(store.commit(&first, &change, &Guard::Owner(owner)).await.unwrap(), Append::Done);
    let mut after = before;
    change.apply(&mut after);
    let log = store.read(run.id, 1).await.unwrap().unwrap();
    assert_eq!((log.record, log.entries), (after.clone(), vec![first.clone()]));
    assert_eq!(after.rev, 1);

    let again = entry(run.id, 1, owner, vec![EventBody::RunCanceled]);
    assert_eq!(store.commit(&again, &ended(&again), &Guard::Owner(owner)).await.unwrap(), Append::Taken);
    let neither = store.commit(&again, &ended(&again), &stranger).await.unwrap();
    assert_ne!(neither, Append::Done, "Refused and Taken are both allowed");
    let log = store.read(run.id, 1).await.unwrap().unwrap();
    assert_eq!((log.record, log.entries), (after, vec![first]));
}

/// Each guard has the result of [`Guard::holds`], for commits and updates.
pub async fn guards_are_judged_on_the_record(store: Store) {
    let (mine, other) = (claim(), claim());
    let later = Timestamp(NOW.0 + 1);
    for (owner, due) in [None, Some(mine), Some(other)]
        .into_iter()
        .flat_map(|owner| [None, Some(NOW), Some(later)].map(|due| (owner, due)))
    {
        let before = Record { owner, due, rev: 7, ..record() };
        let guards = [
            Guard::Always,
            Guard::LeaseFree { claim: mine, now: NOW },
            Guard::Owner(mine),
            Guard::Rev(7),
            Guard::Rev(6),
        ];
        for guard in guards {
            let run = make::run(make::app());
            store.create(&run, &before).await.unwrap();
            let nothing = RecordChange::default();
            let holds = guard.holds(&before);
            let update = store.update(run.id, &nothing, &guard).await.unwrap();
            assert_eq!(update == Update::Done, holds, "{guard:?} on {before:?}");
            // The update has incremented `rev`.
            let guard = if guard == Guard::Rev(7) { Guard::Rev(8) } else { guard };
            let entry = entry(run.id, 1, mine, vec![EventBody::RunStarted]);
            let commit = store.commit(&entry, &nothing, &guard).await.unwrap();
            assert_eq!(commit == Append::Done, holds, "{guard:?} on {before:?}");
            assert_eq!(of(&store, run.id).await.rev, if holds { 9 } else { 7 });
        }
    }
}

/// A lease of another claim is free from the millisecond of `due` on, not before, and never without a `due`.
pub async fn a_lease_is_free_when_it_is_due(store: Store) {
    let run = make::run(make::app());
    let before = Record { owner: Some(claim()), due: Some(NOW), ..record() };
    store.create(&run, &before).await.unwrap();
    let lease_free = |now| Guard::LeaseFree { claim: claim(), now };
    let nothing = RecordChange::default();
    let early = Timestamp(NOW.0 - 1);
    assert_eq!(store.update(run.id, &nothing, &lease_free(early)).await.unwrap(), Update::Refused);
    assert_eq!(store.update(run.id, &nothing, &lease_free(NOW)).await.unwrap(), Update::Done);
    let forever = RecordChange { due: Field::Clear, ..Default::default() };
    store.update(run.id, &forever, &Guard::Always).await.unwrap();
    let late = Timestamp(NOW.0 + 1_000_000_000);
    assert_eq!(store.update(run.id, &nothing, &lease_free(late)).await.unwrap(), Update::Refused);
}

/// An update changes only the fields that it sets, and increments `rev`.
pub async fn updates_change_what_they_say(store: Store) {
    let mut run = make::run(make::app());
    run.user_id = Some("u".to_owned());
    run.metadata = [("k".to_owned(), "v".to_owned())].into();
    store.create(&run, &record()).await.unwrap();
    let mut expected = record();
    let (one, time) = (claim(), Timestamp(NOW.0 + 5));
    let none = RecordChange::default();
    let changes = [
        none.clone(),
        RecordChange { upto: Some(3), ..none.clone() },
        RecordChange { status: Some(RunStatus::Started), ..none.clone() },
        RecordChange { unanswered: Some(true), ..none.clone() },
        RecordChange { owner: Field::Set(one), due: Field::Set(time), ..none.clone() },
        RecordChange { attempts: Some((2, 3)), ..none.clone() },
        RecordChange { owner: Field::Clear, ..none.clone() },
        RecordChange { status: Some(RunStatus::Paused), unanswered: Some(false), ..none.clone() },
        RecordChange { due: Field::Clear, ..none.clone() },
        RecordChange { due: Field::Set(Timestamp(0)), ..none.clone() },
        RecordChange { ended_at: Some(time), status: Some(RunStatus::Failed), ..none.clone() },
        RecordChange { ended_at: None, due: Field::Keep, ..none },
    ];
    for change in changes {
        assert_eq!(store.update(run.id, &change, &Guard::Always).await.unwrap(), Update::Done);
        change.apply(&mut expected);
        assert_eq!(of(&store, run.id).await, expected, "{change:?}");
    }
    assert_eq!(store.get(run.id).await.unwrap().unwrap().new, run);
}

/// Of many concurrent writes that are guarded by the same `rev`, exactly one succeeds.
pub async fn a_guard_lets_one_of_many_through(store: Store) {
    let run = make::run(make::app());
    store.create(&run, &record()).await.unwrap();
    for rev in 0..10 {
        let claims = at_once(16, |index| {
            let (store, claim, id) = (Arc::clone(&store), claim(), run.id);
            async move {
                let change = RecordChange { owner: Field::Set(claim), ..Default::default() };
                let done = if index % 2 == 0 {
                    store.update(id, &change, &Guard::Rev(rev)).await.unwrap() == Update::Done
                } else {
                    // Each has its own slot, so that only the guard decides.
                    let first = rev * 100 + index as Sequence;
                    let entry = checkpoints(id, first, claim, 1, 0);
                    store.commit(&entry, &change, &Guard::Rev(rev)).await.unwrap() == Append::Done
                };
                done.then_some(claim)
            }
        })
        .await;
        let done: Vec<_> = claims.into_iter().flatten().collect();
        assert_eq!(done.len(), 1);
        let record = of(&store, run.id).await;
        assert_eq!((record.rev, record.owner), (rev + 1, Some(done[0])));
    }
}

/// A key stays bound to its first run until the binding is no longer valid.
pub async fn idempotency_keys_bind_once(store: Store) {
    let item = |key: u8, request: u8, bound_at: i64, valid_since: i64| {
        let mut bytes = [key; 32];
        bytes[..16].copy_from_slice(make::app().0.as_bytes());
        IdempotencyItem {
            key: bytes,
            run: RunId(make::app().0),
            request: [request; 32],
            bound_at: Timestamp(bound_at),
            valid_since: Timestamp(valid_since),
        }
    };
    let first = item(1, 1, 1000, 500);
    assert_eq!(store.bind(&first).await.unwrap(), first);
    let again = |request, bound_at, valid_since| IdempotencyItem {
        key: first.key,
        ..item(1, request, bound_at, valid_since)
    };
    assert_eq!(store.bind(&again(2, 1100, 600)).await.unwrap(), first, "bound");
    assert_eq!(store.bind(&again(2, 1500, 1000)).await.unwrap(), first, "not bound before `valid_since`");
    let late = again(3, 1501, 1001);
    assert_eq!(store.bind(&late).await.unwrap(), late, "the binding is no longer valid");
    assert_eq!(store.bind(&again(4, 1502, 1002)).await.unwrap(), late, "bound again");
    let other = item(2, 1, 1600, 1100);
    assert_eq!(store.bind(&other).await.unwrap(), other, "another key");

    let race = item(3, 0, 2000, 1000);
    let bound = at_once(16, |index| {
        let store = Arc::clone(&store);
        let mine = IdempotencyItem {
            run: RunId(make::app().0),
            request: [u8::try_from(index).unwrap(); 32],
            ..race.clone()
        };
        async move { store.bind(&mine).await.unwrap() }
    })
    .await;
    assert!(bound.iter().all(|item| *item == bound[0]));
}

/// A run is returned from its `due` on, the longest due first, and never without a `due`.
pub async fn due_runs_come_longest_due_first(store: Store) {
    let app = make::app();
    // Long ago, before the runs of other tests.
    let at = |offset: i64| Timestamp(1_000_000 + offset);
    let mut runs = Vec::new();
    for offset in [5, 1, 9, 3, 7] {
        let run = make::run(app);
        store.create(&run, &Record { due: Some(at(offset)), ..record() }).await.unwrap();
        runs.push((offset, run.id));
    }
    let never = make::run(app);
    store.create(&never, &Record { due: None, ..record() }).await.unwrap();
    runs.sort_unstable();
    let due = |now, limit| {
        let store = Arc::clone(&store);
        async move {
            let due = store.due(now, limit).await.unwrap();
            due.into_iter().filter(|(of, _)| *of == app).map(|(_, run)| run).collect::<Vec<_>>()
        }
    };
    let ids: Vec<_> = runs.iter().map(|(_, id)| *id).collect();
    assert_eq!(due(at(0), 100).await, []);
    assert_eq!(due(at(5), 100).await, ids[..3]);
    assert_eq!(due(at(100), 2).await, ids[..2]);
    assert_eq!(due(at(100), 100).await, ids);
    let change = |due| RecordChange { due, ..Default::default() };
    store.update(ids[0], &change(Field::Clear), &Guard::Always).await.unwrap();
    store.update(ids[1], &change(Field::Set(at(50))), &Guard::Always).await.unwrap();
    let end = entry(ids[2], 1, claim(), vec![EventBody::RunCanceled]);
    store.commit(&end, &ended(&end), &Guard::Always).await.unwrap();
    store.update(never.id, &change(Field::Set(at(8))), &Guard::Always).await.unwrap();
    assert_eq!(due(at(100), 100).await, [ids[3], never.id, ids[4], ids[1]]);
}

/// An ended run that expired is removed completely; a run that has not ended, or not expired, stays. A store whose
/// backend removes expired runs itself may remove none.
pub async fn ended_runs_expire_with_all_that_is_theirs(store: Store) {
    let app = make::app();
    let now = Timestamp(2_000_000);
    let mut runs = Vec::new();
    for (expires_at, ends) in [(1000, true), (1001, false), (1002, true), (3_000_000, true)] {
        let mut run = make::run(app);
        run.expires_at = Timestamp(expires_at);
        run.user_id = Some("u".to_owned());
        run.session_id = Some(app.0);
        run.metadata = [("k".to_owned(), "v".to_owned())].into();
        store.create(&run, &record()).await.unwrap();
        for first in 1..=300 {
            let entry = checkpoints(run.id, first, claim(), 1, 10);
            store.append(&entry).await.unwrap();
        }
        if ends {
            let end = entry(run.id, 301, claim(), vec![EventBody::RunCanceled]);
            store.commit(&end, &ended(&end), &Guard::Always).await.unwrap();
        }
        runs.push(run.id);
    }
    let deleted = store.delete_expired(now, 1).await.unwrap();
    if deleted == 0 {
        return;
    }
    assert_eq!(deleted, 1);
    assert_eq!(store.get(runs[0]).await.unwrap(), None, "the run that expired first is deleted first");
    assert!(store.get(runs[2]).await.unwrap().is_some());
    assert_eq!(store.delete_expired(now, 100).await.unwrap(), 1);
    assert_eq!(store.delete_expired(now, 100).await.unwrap(), 0);
    for deleted in [runs[0], runs[2]] {
        assert_eq!(store.get(deleted).await.unwrap(), None);
        assert_eq!(store.head(deleted).await.unwrap(), None);
        assert_eq!(store.read(deleted, 1).await.unwrap(), None);
    }
    for kept in [runs[1], runs[3]] {
        assert!(store.read(kept, 1).await.unwrap().is_some_and(|log| log.entries.len() >= 300));
    }
    let mut query = crate::list::query(app);
    query.user_id = Some("u".to_owned());
    query.session_id = Some(app.0);
    query.metadata = vec![("k".to_owned(), "v".to_owned())];
    let page = store.list(&query).await.unwrap();
    assert_eq!((page.runs.len(), page.total_count), (2, 2));
    tokio::time::timeout(Duration::from_mins(1), store.changed(runs[0], 0, Duration::from_millis(10)))
        .await
        .unwrap();
}
