//! Runs that cannot be read, because of a later release or a damaged disk: they do not affect other runs.

use crate::{
    list::query,
    make::{self, claim, ended, entry},
    memory::{MemoryFiles, MemoryQueue, MemoryUsage},
    service::{Backend, World},
};
use async_trait::async_trait;
use runyard_runs::{
    AppId, EventBody, Guard, PageStart, Record, RecordChange, RunId, RunQueue, RunStore, Sort, SortBy,
    StoreError, Timestamp, Update,
};
use std::{sync::Arc, time::Duration};

/// How a run is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its last entry has a format that this release does not know.
    LaterVersion,
    /// Its last entry is not a valid entry.
    Entry,
    /// Its record is invalid.
    Record,
    /// Its request is missing.
    Content,
}

const ALL: [How; 4] = [How::LaterVersion, How::Entry, How::Record, How::Content];

/// Damages stored runs.
#[async_trait]
pub trait Damage: Send + Sync {
    /// Makes `run`, which has one entry, unreadable.
    async fn damage(&self, run: RunId, how: How);
}

/// A store that can be damaged.
pub struct Damaged {
    /// The port.
    pub runs: Arc<dyn RunStore>,
    /// Damages runs of the store.
    pub damage: Arc<dyn Damage>,
}

/// Creates one run for each kind of damage, due from `due` on, with an intact run before and after each. Returns the
/// intact and the damaged ones.
async fn runs(store: &Damaged, app: AppId, due: Timestamp, ends: bool) -> (Vec<RunId>, Vec<RunId>) {
    let (mut intact, mut damaged) = (Vec::new(), Vec::new());
    let mut make = async |how: Option<How>, offset: i64| {
        let mut run = make::run(app);
        run.created_at = Timestamp(run.created_at.0 + offset);
        run.user_id = Some("u".to_owned());
        run.metadata = [("k".to_owned(), "v".to_owned())].into();
        if ends {
            run.expires_at = Timestamp(1_000 + offset);
        }
        let record = Record { due: Some(Timestamp(due.0 + offset)), ..make::record() };
        store.runs.create(&run, &record).await.unwrap();
        if ends {
            let end = entry(run.id, 1, claim(), vec![EventBody::RunCanceled]);
            store.runs.commit(&end, &ended(&end), &Guard::Always).await.unwrap();
        } else {
            let start = entry(run.id, 1, claim(), vec![EventBody::RunStarted]);
            let change =
                RecordChange { upto: Some(1), status: Some(start.state.status), ..RecordChange::default() };
            store.runs.commit(&start, &change, &Guard::Always).await.unwrap();
        }
        match how {
            Some(how) => {
                store.damage.damage(run.id, how).await;
                damaged.push(run.id);
            }
            None => intact.push(run.id),
        }
    };
    make(None, 0).await;
    for (how, offset) in ALL.into_iter().zip((1..).step_by(2)) {
        make(Some(how), offset).await;
        make(None, offset + 1).await;
    }
    (intact, damaged)
}

/// Other runs are listed, with and without a filter, and pages continue after the damaged run. Reading it is an error.
pub async fn an_unreadable_run_is_left_out_of_lists(store: Damaged) {
    let app = make::app();
    let (intact, damaged) = runs(&store, app, make::NOW, false).await;
    for user_id in [None, Some("u".to_owned())] {
        for page_size in [1, 3, 100] {
            let mut query = query(app);
            query.user_id.clone_from(&user_id);
            query.sort = vec![Sort { by: SortBy::StartedAt, descending: false }];
            query.page_size = page_size;
            let mut listed = Vec::new();
            loop {
                let page = store.runs.list(&query).await.unwrap();
                assert!(page.total_count >= intact.len() as u64);
                listed.extend(page.runs.into_iter().map(|run| run.new.id));
                let Some(next) = page.next_cursor else { break };
                query.start = PageStart::Cursor(next);
            }
            let readable = |id: &RunId| !damaged.contains(id);
            assert_eq!(listed.iter().copied().filter(readable).collect::<Vec<_>>(), intact);
            for (id, how) in damaged.iter().zip(ALL) {
                assert!(!listed.contains(id), "{how:?}");
            }
        }
    }
    for (id, how) in damaged.iter().zip(ALL) {
        assert!(matches!(store.runs.get(*id).await, Err(StoreError::Failed(_))), "{how:?}");
    }
}

/// A damaged run is due, can be postponed, and is due again later. A run that is not due is not postponed.
pub async fn an_unreadable_run_is_postponed(store: Damaged) {
    let app = make::app();
    let at = Timestamp(1_000_000);
    let (intact, damaged) = runs(&store, app, at, false).await;
    let due = async |now| {
        let due = store.runs.due(now, 1_000).await.unwrap();
        due.into_iter().filter(|(of, _)| *of == app).map(|(_, run)| run).collect::<Vec<_>>()
    };
    let soon = Timestamp(at.0 + 100);
    let later = Timestamp(at.0 + 1_000);
    assert_eq!(due(soon).await.len(), intact.len() + damaged.len());
    for (run, how) in damaged.iter().zip(ALL) {
        assert_eq!(store.runs.postpone(*run, soon, later).await.unwrap(), Update::Done, "{how:?}");
        assert_eq!(store.runs.postpone(*run, soon, later).await.unwrap(), Update::Refused, "{how:?}");
    }
    assert_eq!(due(soon).await, intact);
    let then = due(later).await;
    assert_eq!((&then[..intact.len()], then.len()), (&intact[..], intact.len() + damaged.len()));
    let unknown = make::run(app).id;
    assert_eq!(store.runs.postpone(unknown, soon, later).await.unwrap(), Update::Refused);
}

/// Expired runs are removed, damaged or not. A store whose backend removes expired runs itself may remove none.
pub async fn an_unreadable_run_stops_no_expiry(store: Damaged) {
    let app = make::app();
    let (intact, damaged) = runs(&store, app, make::NOW, true).await;
    let deleted = store.runs.delete_expired(Timestamp(2_000), 100).await.unwrap();
    if deleted == 0 {
        return;
    }
    assert_eq!(deleted, intact.len() + damaged.len());
    for run in intact.into_iter().chain(damaged) {
        assert!(store.runs.head(run).await.unwrap().is_none());
    }
}

/// The sweeper counts damaged runs, postpones them, each time for longer, and handles the others. Any number of damaged
/// runs does not block the others.
pub async fn an_unreadable_run_stops_no_sweep(store: Damaged) {
    let queue = Arc::<MemoryQueue>::default();
    let world = World::new(Backend {
        runs: Arc::clone(&store.runs),
        files: Arc::<MemoryFiles>::default(),
        usage: Arc::<MemoryUsage>::default(),
        queue: Arc::<MemoryQueue>::clone(&queue) as Arc<dyn RunQueue>,
        receive: Arc::new(|| Box::pin(std::future::pending())),
        keep: Box::new(()),
    });
    // Long ago: the longest due come first.
    let (intact, damaged) = runs(&store, make::app(), Timestamp(1_000_000), false).await;
    let mut unreadable = 0;
    let mut requeued = 0;
    for _ in 0..20 {
        let swept = world.service().sweep(2).await.unwrap();
        unreadable += swept.unreadable;
        requeued += swept.requeued + swept.failed;
        if swept.looked_at == 0 {
            break;
        }
    }
    // A store may know a run's state without its request: the run has expired, so the sweeper ends it.
    assert!(
        unreadable == damaged.len() || unreadable == damaged.len() - 1,
        "{unreadable} of {}",
        damaged.len()
    );
    assert_eq!(unreadable + requeued, damaged.len() + intact.len());
    for (run, how) in damaged.iter().zip(ALL).filter(|(_, how)| *how != How::Content) {
        assert!(matches!(world.service().work(*run).await, Err(StoreError::Failed(_))), "{how:?}");
    }
    for minutes in [1, 2, 4] {
        world.clock().forward(Duration::from_secs(60 * minutes - 10));
        assert_eq!(world.service().sweep(100).await.unwrap().unreadable, 0, "before {minutes} min");
        world.clock().forward(Duration::from_secs(20));
        assert_eq!(world.service().sweep(100).await.unwrap().unreadable, unreadable, "after {minutes} min");
    }
}
