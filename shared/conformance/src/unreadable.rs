//! Runs that cannot be read, by a later release's doing or a damaged disk's: they are nobody's trouble but their own.

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

/// What may be wrong with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its last entry is of a format that this release does not know.
    LaterVersion,
    /// Its last entry is no entry at all.
    Entry,
    /// Its record is not one.
    Record,
    /// What was asked for is gone.
    Content,
}

const ALL: [How; 4] = [How::LaterVersion, How::Entry, How::Record, How::Content];

/// Damages what a store keeps.
#[async_trait]
pub trait Damage: Send + Sync {
    /// Has `run`, which has an entry, be unreadable.
    async fn damage(&self, run: RunId, how: How);
}

/// A store that can be damaged.
pub struct Damaged {
    /// The port.
    pub runs: Arc<dyn RunStore>,
    /// What damages it.
    pub damage: Arc<dyn Damage>,
}

/// One run for each kind of damage, each due at `due`, with a good one before and after it.
async fn runs(store: &Damaged, app: AppId, due: Timestamp, ends: bool) -> (Vec<RunId>, Vec<RunId>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
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
                bad.push(run.id);
            }
            None => good.push(run.id),
        }
    };
    make(None, 0).await;
    for (how, offset) in ALL.into_iter().zip((1..).step_by(2)) {
        make(Some(how), offset).await;
        make(None, offset + 1).await;
    }
    (good, bad)
}

/// The others are listed, by every order and filter, and pages go on after it. Who asks for it is told that it cannot be read.
pub async fn an_unreadable_run_is_left_out_of_lists(store: Damaged) {
    let app = make::app();
    let (good, bad) = runs(&store, app, make::NOW, false).await;
    for user_id in [None, Some("u".to_owned())] {
        for page_size in [1, 3, 100] {
            let mut query = query(app);
            query.user_id.clone_from(&user_id);
            query.sort = vec![Sort { by: SortBy::StartedAt, descending: false }];
            query.page_size = page_size;
            let mut listed = Vec::new();
            loop {
                let page = store.runs.list(&query).await.unwrap();
                assert!(page.total_count >= good.len() as u64);
                listed.extend(page.runs.into_iter().map(|run| run.new.id));
                let Some(next) = page.next_cursor else { break };
                query.start = PageStart::Cursor(next);
            }
            let readable = |id: &RunId| !bad.contains(id);
            assert_eq!(listed.iter().copied().filter(readable).collect::<Vec<_>>(), good);
            for (id, how) in bad.iter().zip(ALL) {
                assert!(!listed.contains(id), "{how:?}");
            }
        }
    }
    for (id, how) in bad.iter().zip(ALL) {
        assert!(matches!(store.runs.get(*id).await, Err(StoreError::Failed(_))), "{how:?}");
    }
}

/// It is due, can be put off, and is due again then. One that is not due stays as it is.
pub async fn an_unreadable_run_is_postponed(store: Damaged) {
    let app = make::app();
    let at = Timestamp(1_000_000);
    let (good, bad) = runs(&store, app, at, false).await;
    let due = async |now| {
        let due = store.runs.due(now, 1_000).await.unwrap();
        due.into_iter().filter(|(of, _)| *of == app).map(|(_, run)| run).collect::<Vec<_>>()
    };
    let soon = Timestamp(at.0 + 100);
    let later = Timestamp(at.0 + 1_000);
    assert_eq!(due(soon).await.len(), good.len() + bad.len());
    for (run, how) in bad.iter().zip(ALL) {
        assert_eq!(store.runs.postpone(*run, soon, later).await.unwrap(), Update::Done, "{how:?}");
        assert_eq!(store.runs.postpone(*run, soon, later).await.unwrap(), Update::Refused, "{how:?}");
    }
    assert_eq!(due(soon).await, good);
    let then = due(later).await;
    assert_eq!((&then[..good.len()], then.len()), (&good[..], good.len() + bad.len()));
    let nobody = make::run(app).id;
    assert_eq!(store.runs.postpone(nobody, soon, later).await.unwrap(), Update::Refused);
}

/// What expired is removed, it and the others. A store whose backend does it by itself may remove none.
pub async fn an_unreadable_run_stops_no_expiry(store: Damaged) {
    let app = make::app();
    let (good, bad) = runs(&store, app, make::NOW, true).await;
    let deleted = store.runs.delete_expired(Timestamp(2_000), 100).await.unwrap();
    if deleted == 0 {
        return;
    }
    assert_eq!(deleted, good.len() + bad.len());
    for run in good.into_iter().chain(bad) {
        assert!(store.runs.head(run).await.unwrap().is_none());
    }
}

/// The sweeper counts them, leaves them for later, each time for longer, and sees to the others. However many they are,
/// they do not stand in the others' way.
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
    let (good, bad) = runs(&store, make::app(), Timestamp(1_000_000), false).await;
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
    // A store may tell how a run stands without what was asked for: these are past their last day, and end.
    assert!(unreadable == bad.len() || unreadable == bad.len() - 1, "{unreadable} of {}", bad.len());
    assert_eq!(unreadable + requeued, bad.len() + good.len());
    for (run, how) in bad.iter().zip(ALL).filter(|(_, how)| *how != How::Content) {
        assert!(matches!(world.service().work(*run).await, Err(StoreError::Failed(_))), "{how:?}");
    }
    for minutes in [1, 2, 4] {
        world.clock().forward(Duration::from_secs(60 * minutes - 10));
        assert_eq!(world.service().sweep(100).await.unwrap().unreadable, 0, "before {minutes} min");
        world.clock().forward(Duration::from_secs(20));
        assert_eq!(world.service().sweep(100).await.unwrap().unreadable, unreadable, "after {minutes} min");
    }
}
