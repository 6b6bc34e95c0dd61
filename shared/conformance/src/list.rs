//! `RunStore`: lists.

use crate::{
    make::{self, NOW, at_once, checkpoints, claim},
    model::{Dice, compare, matches},
};
use runyard_runs::{
    AppId, COUNT_CAP, Create, Field, Guard, ListError, ListQuery, NewRun, Origin, PageStart, Record,
    RecordChange, ReportedStatus, RunId, RunPage, RunStatus, RunStore, Sort, SortBy, StoredRun, Timestamp,
};
use std::{cmp::Ordering, collections::HashSet, sync::Arc};
use uuid::Uuid;

type Store = Arc<dyn RunStore>;

/// A query for the newest runs of an app.
pub fn query(app: AppId) -> ListQuery {
    ListQuery {
        app,
        statuses: Vec::new(),
        user_id: None,
        session_id: None,
        metadata: Vec::new(),
        sort: vec![Sort { by: SortBy::StartedAt, descending: true }],
        start: PageStart::Offset(0),
        page_size: 25,
    }
}

const STATUSES: [RunStatus; 6] = [
    RunStatus::Created,
    RunStatus::Started,
    RunStatus::Paused,
    RunStatus::Completed,
    RunStatus::Failed,
    RunStatus::Canceled,
];

const USERS: [&str; 3] = ["ann", "bob", "' OR 1=1 --"];

fn sessions() -> [Uuid; 2] {
    [Uuid::from_u128(1), Uuid::from_u128(2)]
}

fn metadata_values() -> [(String, String); 4] {
    [("a", "1"), ("a", "2"), ("b", "1"), ("%", "_")].map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// A run with random values of all fields that lists sort and filter by, with many ties.
fn random_run(app: AppId, dice: &mut Dice) -> NewRun {
    let mut run = make::run(app);
    run.created_at = Timestamp(NOW.0 + i64::try_from(dice.below(40)).unwrap_or(0));
    run.user_id = (!dice.one(3)).then(|| dice.pick(&USERS).to_owned());
    run.session_id = dice.one(2).then(|| dice.pick(&sessions()));
    run.metadata = metadata_values().into_iter().filter(|_| dice.one(3)).collect();
    run.retry_of = dice.one(4).then(|| make::run(app).id);
    run.origin = dice.pick(&[Origin::Key, Origin::Anonymous, Origin::RetriedAnonymous]);
    run
}

fn random_change(dice: &mut Dice) -> RecordChange {
    let status = dice.pick(&STATUSES);
    RecordChange {
        status: Some(status),
        unanswered: Some(dice.one(3)),
        ended_at: status.is_terminal().then(|| Timestamp(NOW.0 + i64::try_from(dice.below(40)).unwrap_or(0))),
        owner: if dice.one(2) { Field::Set(claim()) } else { Field::Clear },
        ..RecordChange::default()
    }
}

/// Creates `count` runs and changes the status of some. Returns them as they are stored.
async fn create_random_runs(store: &Store, app: AppId, count: usize) -> Vec<StoredRun> {
    let runs = at_once(count, |index| {
        let store = Arc::clone(store);
        async move {
            let mut dice = Dice::new(index as u64);
            let new = random_run(app, &mut dice);
            let mut record = make::record();
            random_change(&mut dice).apply(&mut record);
            if !dice.one(3) {
                // The status of an ended run cannot change.
                record = make::record();
            }
            assert_eq!(store.create(&new, &record).await.unwrap(), Create::Done);
            let mut last = None;
            for first in 1..=dice.below(3) as u64 {
                let entry = checkpoints(new.id, first, claim(), 1, 3);
                let change = if record.ended_at.is_some() {
                    RecordChange::default()
                } else {
                    random_change(&mut dice)
                };
                store.commit(&entry, &change, &Guard::Always).await.unwrap();
                change.apply(&mut record);
                last = Some(entry);
            }
            StoredRun { new, record, last }
        }
    })
    .await;
    // Runs of other apps, which are never listed.
    let mut dice = Dice::new(1);
    for _ in 0..10 {
        store.create(&random_run(make::app(), &mut dice), &make::record()).await.unwrap();
    }
    runs
}

fn random_query(app: AppId, dice: &mut Dice) -> ListQuery {
    let mut query = query(app);
    query.statuses = ReportedStatus::ALL.into_iter().filter(|_| dice.one(3)).collect();
    if dice.one(3) {
        query.statuses.extend(query.statuses.clone());
    }
    query.user_id = dice.one(3).then(|| dice.pick(&[USERS[0], USERS[1], USERS[2], "nobody"]).to_owned());
    query.session_id = dice.one(4).then(|| dice.pick(&sessions()));
    query.metadata = metadata_values().into_iter().filter(|_| dice.one(8)).collect();
    let sort = |by, dice: &mut Dice| Sort { by, descending: dice.one(2) };
    query.sort = match dice.below(6) {
        0..3 => vec![sort(SortBy::StartedAt, dice)],
        3 => vec![sort(SortBy::Status, dice)],
        4 => vec![sort(SortBy::EndedAt, dice)],
        _ => vec![sort(SortBy::Status, dice), sort(SortBy::StartedAt, dice)],
    };
    query.page_size = u32::try_from(dice.pick(&[1, 7, 25, 100])).unwrap_or(1);
    query
}

/// Reads all pages by cursor; `None` if the order is not supported.
async fn walk(store: &Store, query: &ListQuery) -> Option<Vec<RunPage>> {
    let mut query = query.clone();
    let mut pages = Vec::new();
    loop {
        let page = match store.list(&query).await {
            Ok(page) => page,
            Err(ListError::NotServed(message)) => {
                assert!(!message.is_empty() && query.sort[0].by != SortBy::StartedAt);
                return None;
            }
            Err(error) => panic!("{query:?}: {error}"),
        };
        let next = page.next_cursor.clone();
        pages.push(page);
        match next {
            Some(cursor) => query.start = PageStart::Cursor(cursor),
            None => return Some(pages),
        }
    }
}

fn ids<'r>(runs: impl IntoIterator<Item = &'r StoredRun>) -> Vec<RunId> {
    runs.into_iter().map(|run| run.new.id).collect()
}

/// For any query, the list has the runs, order and count that a naive implementation finds, by cursor and by offset.
pub async fn lists_are_as_the_model_says(store: Store) {
    let app = make::app();
    let runs = create_random_runs(&store, app, 300).await;
    let mut dice = Dice::new(42);
    let mut served = 0;
    for _ in 0..150 {
        let query = random_query(app, &mut dice);
        let Some(pages) = walk(&store, &query).await else { continue };
        served += 1;
        let expected: Vec<_> = runs.iter().filter(|run| matches(&query, run)).collect();
        let listed: Vec<_> = pages.iter().flat_map(|page| &page.runs).collect();
        let sorted =
            listed.windows(2).all(|pair| compare(&query.sort, pair[0], pair[1]) != Ordering::Greater);
        assert!(sorted, "{query:?}");
        assert_eq!(listed.len(), expected.len(), "{query:?}");
        for run in &expected {
            assert!(listed.contains(run), "{query:?} lacks {run:?}");
        }
        for page in &pages {
            assert_eq!((page.total_count, page.capped), (expected.len() as u64, false), "{query:?}");
        }
        let full = pages.split_last().map_or(0, |(_, full)| full.len());
        assert!(pages.iter().take(full).all(|page| page.runs.len() == query.page_size as usize), "{query:?}");
        let offset = dice.below(expected.len() + 2);
        let numbered = ListQuery { start: PageStart::Offset(offset as u64), ..query.clone() };
        let page = store.list(&numbered).await.unwrap();
        let expected: Vec<_> = listed.iter().copied().skip(offset).take(query.page_size as usize).collect();
        assert_eq!(ids(&page.runs), ids(expected), "{numbered:?}");
    }
    assert!(served >= 75, "`started_at` is always supported");
}

/// All pages together have every run once, although most runs have the same millisecond.
pub async fn pages_walk_every_run_once(store: Store) {
    let app = make::app();
    let mut all = HashSet::new();
    for _ in 0..60 {
        let run = make::run(app);
        store.create(&run, &make::record()).await.unwrap();
        all.insert(run.id);
    }
    for (descending, page_size) in [(true, 1), (false, 1), (true, 7), (false, 60), (true, 100)] {
        let mut query = ListQuery { page_size, ..query(app) };
        query.sort[0].descending = descending;
        let pages = walk(&store, &query).await.unwrap();
        let listed = ids(pages.iter().flat_map(|page| &page.runs));
        assert_eq!(listed.len(), 60);
        assert_eq!(listed.into_iter().collect::<HashSet<_>>(), all);
    }
    let empty = store.list(&query(make::app())).await.unwrap();
    assert_eq!(empty, RunPage { runs: vec![], total_count: 0, capped: false, next_cursor: None });
}

/// If runs are created or change their status between pages, no other run is missing or listed twice.
pub async fn a_walk_is_not_disturbed_by_new_runs(store: Store) {
    let app = make::app();
    let before = create_random_runs(&store, app, 80).await;
    for descending in [true, false] {
        let mut query = ListQuery { page_size: 9, ..query(app) };
        query.sort[0].descending = descending;
        let present: Vec<RunId> = {
            let pages = walk(&store, &query).await.unwrap();
            ids(pages.iter().flat_map(|page| &page.runs))
        };
        let mut walked = Vec::new();
        let mut dice = Dice::new(7);
        loop {
            let page = store.list(&query).await.unwrap();
            walked.extend(ids(&page.runs));
            for _ in 0..3 {
                store.create(&random_run(app, &mut dice), &make::record()).await.unwrap();
                let moved = dice.pick(&before).new.id;
                store.update(moved, &random_change(&mut dice), &Guard::Always).await.unwrap();
            }
            match page.next_cursor {
                Some(cursor) => query.start = PageStart::Cursor(cursor),
                None => break,
            }
        }
        let unique: HashSet<_> = walked.iter().copied().collect();
        assert_eq!(unique.len(), walked.len(), "no run is listed twice");
        assert!(present.iter().all(|run| unique.contains(run)), "no run is missing");
    }
}

/// `total_count` is exact up to the cap, and `capped` is set beyond it; pages continue beyond the cap.
pub async fn total_counts_are_capped(store: Store) {
    const AT_ONCE: usize = 250;
    let app = make::app();
    let cap = usize::try_from(COUNT_CAP).unwrap();
    for _ in 0..cap / AT_ONCE {
        at_once(AT_ONCE, |index| {
            let store = Arc::clone(&store);
            let mut run = make::run(app);
            run.created_at = Timestamp(NOW.0 + i64::try_from(index).unwrap_or(0));
            run.user_id = Some("u".to_owned());
            async move { store.create(&run, &make::record()).await.unwrap() }
        })
        .await;
    }
    let all = query(app);
    let of_user = ListQuery { user_id: Some("u".to_owned()), ..all.clone() };
    for query in [&all, &of_user] {
        let page = store.list(query).await.unwrap();
        assert_eq!((page.total_count, page.capped), (COUNT_CAP, false));
        let at_end = ListQuery { start: PageStart::Offset(COUNT_CAP - 5), ..query.clone() };
        let page = store.list(&at_end).await.unwrap();
        assert_eq!((page.runs.len(), page.next_cursor), (5, None));
    }
    let mut last = make::run(app);
    last.created_at = Timestamp(NOW.0 - 1);
    last.user_id = Some("u".to_owned());
    let record = Record { status: RunStatus::Paused, ..make::record() };
    store.create(&last, &record).await.unwrap();
    for query in [&all, &of_user] {
        let page = store.list(query).await.unwrap();
        assert_eq!((page.total_count, page.capped), (COUNT_CAP, true));
        let at_end = ListQuery { start: PageStart::Offset(COUNT_CAP), ..query.clone() };
        assert_eq!(ids(&store.list(&at_end).await.unwrap().runs), [last.id]);
        let paused = ListQuery { statuses: vec![ReportedStatus::Paused], ..query.clone() };
        assert_eq!(store.list(&paused).await.unwrap().total_count, 1);
    }
}

/// A cursor of another query, or an invalid one, is refused; the page size may change.
pub async fn cursors_belong_to_their_query(store: Store) {
    let app = make::app();
    create_random_runs(&store, app, 30).await;
    let query = ListQuery { page_size: 5, ..query(app) };
    let cursor = store.list(&query).await.unwrap().next_cursor.unwrap();
    let with = |text: &str| ListQuery { start: PageStart::Cursor(text.to_owned()), ..query.clone() };
    assert_eq!(store.list(&ListQuery { page_size: 7, ..with(&cursor) }).await.unwrap().runs.len(), 7);
    let ascending = vec![Sort { by: SortBy::StartedAt, descending: false }];
    let others = [
        ListQuery { app: make::app(), ..with(&cursor) },
        ListQuery { statuses: vec![ReportedStatus::Failed], ..with(&cursor) },
        ListQuery { user_id: Some("ann".to_owned()), ..with(&cursor) },
        ListQuery { session_id: Some(sessions()[0]), ..with(&cursor) },
        ListQuery { metadata: vec![metadata_values()[0].clone()], ..with(&cursor) },
        ListQuery { sort: ascending, ..with(&cursor) },
        with(""),
        with("no cursor"),
        with(&cursor[..cursor.len() - 2]),
        with(&format!("{cursor}00")),
        with(&"\u{e9}".repeat(cursor.len() / 2)),
    ];
    for other in others {
        assert!(matches!(store.list(&other).await, Err(ListError::BadCursor)), "{other:?}");
    }
}

/// An order is either supported, or refused with a message that lists the supported orders.
pub async fn what_is_not_served_is_refused(store: Store) {
    let app = make::app();
    create_random_runs(&store, app, 50).await;
    let by = [SortBy::StartedAt, SortBy::EndedAt, SortBy::Status];
    for (first, second) in by.into_iter().flat_map(|first| by.map(|second| (first, second))) {
        for descending in [true, false] {
            let sort = vec![Sort { by: first, descending }, Sort { by: second, descending: true }];
            let query = ListQuery { sort, page_size: 100, ..query(app) };
            match store.list(&query).await {
                Ok(page) => {
                    let ordered =
                        |pair: &[StoredRun]| compare(&query.sort, &pair[0], &pair[1]) != Ordering::Greater;
                    assert!(page.runs.windows(2).all(ordered), "{query:?}");
                    assert_eq!(page.runs.len(), 50);
                }
                Err(ListError::NotServed(message)) => assert!(message.contains("started_at"), "{message}"),
                Err(error) => panic!("{query:?}: {error}"),
            }
        }
    }
}

/// A page whose runs are larger than the limit in total is refused before they are read; a page of one run is never
/// refused.
pub async fn pages_of_very_large_runs_are_refused(store: Store) {
    let app = make::app();
    let mut ids = Vec::new();
    for (index, size) in [4_000_000, 4_000_000, 4_000_000, 4_000_000, 17_000_000].into_iter().enumerate() {
        let mut run = make::run(app);
        run.created_at = Timestamp(NOW.0 + i64::try_from(index).unwrap());
        run.input = Arc::new([("text".to_owned(), "x".repeat(size).into())].into_iter().collect());
        store.create(&run, &make::record()).await.unwrap();
        ids.insert(0, run.id);
    }
    let error = store.list(&query(app)).await.unwrap_err();
    assert!(matches!(error, ListError::TooLarge), "{error:?}");
    let one = ListQuery { page_size: 1, ..query(app) };
    let page = store.list(&one).await.unwrap();
    assert_eq!((page.runs[0].new.id, page.runs.len(), page.total_count), (ids[0], 1, 5));
    let rest = ListQuery { page_size: 4, start: PageStart::Cursor(page.next_cursor.unwrap()), ..query(app) };
    let page = store.list(&rest).await.unwrap();
    assert_eq!(page.runs.iter().map(|run| run.new.id).collect::<Vec<_>>(), ids[1..]);
    // Outputs count as well.
    let small = make::app();
    for _ in 0..2 {
        let run = make::run(small);
        store.create(&run, &make::record()).await.unwrap();
        let output = Arc::new("y".repeat(9_000_000).into());
        let entry = make::entry(run.id, 1, claim(), vec![runyard_runs::EventBody::RunCompleted { output }]);
        store.commit(&entry, &make::ended(&entry), &Guard::Always).await.unwrap();
    }
    assert!(matches!(store.list(&query(small)).await, Err(ListError::TooLarge)));
}
