//! `RunQueue`, and how workers receive from it, which the port does not define.

use crate::make;
use async_trait::async_trait;
use runyard_runs::{AppId, RunId, RunQueue};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// The receiving end of a queue.
#[async_trait]
pub trait Receive: Send + Sync {
    /// Waits for the next run.
    async fn receive(&self) -> (AppId, RunId);
}

/// Both ends of a queue that only the test uses.
pub struct Ends {
    /// The sending end: the port.
    pub queue: Arc<dyn RunQueue>,
    /// The receiving end.
    pub receive: Arc<dyn Receive>,
}

const TIMEOUT: Duration = Duration::from_mins(1);

async fn receive(ends: &Ends) -> (AppId, RunId) {
    tokio::time::timeout(TIMEOUT, ends.receive.receive()).await.expect("what is enqueued is delivered")
}

/// Every run is delivered, whether a receiver is already waiting or not.
pub async fn what_is_enqueued_is_delivered(ends: Ends) {
    let ends = Arc::new(ends);
    let runs: HashSet<_> = (0..100).map(|_| (make::app(), make::run(make::app()).id)).collect();
    let sending = {
        let (ends, runs) = (Arc::clone(&ends), runs.clone());
        tokio::spawn(async move {
            for (app, run) in runs {
                ends.queue.enqueue(app, run, Duration::ZERO).await.unwrap();
            }
        })
    };
    let mut received = HashSet::new();
    while received.len() < runs.len() {
        received.insert(receive(&ends).await);
    }
    sending.await.unwrap();
    assert_eq!(received, runs);
}

/// Several receivers share the runs; no run waits while a receiver is idle.
pub async fn receivers_share_the_work(ends: Ends) {
    let ends = Arc::new(ends);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let ends = Arc::clone(&ends);
            tokio::spawn(async move { receive(&ends).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let app = make::app();
    let runs: HashSet<_> = (0..8).map(|_| (app, make::run(app).id)).collect();
    for (app, run) in &runs {
        ends.queue.enqueue(*app, *run, Duration::ZERO).await.unwrap();
    }
    let mut received = HashSet::new();
    for task in tasks {
        received.insert(task.await.unwrap());
    }
    assert_eq!(received, runs);
}

/// A delayed run is not delivered early, and does not delay others.
pub async fn a_delayed_run_comes_late(ends: Ends) {
    const DELAY: Duration = Duration::from_secs(1);
    let (app, late, now) = (make::app(), make::run(make::app()).id, make::run(make::app()).id);
    let begun = Instant::now();
    ends.queue.enqueue(app, late, DELAY).await.unwrap();
    ends.queue.enqueue(app, now, Duration::ZERO).await.unwrap();
    assert_eq!(receive(&ends).await, (app, now));
    assert_eq!(receive(&ends).await, (app, late));
    assert!(begun.elapsed() >= DELAY);
}

/// An app with many runs does not delay those of another app until all its own are delivered.
pub async fn apps_take_turns(ends: Ends) {
    let (busy, quiet) = (make::app(), make::app());
    for _ in 0..100 {
        ends.queue.enqueue(busy, make::run(busy).id, Duration::ZERO).await.unwrap();
    }
    for _ in 0..3 {
        ends.queue.enqueue(quiet, make::run(quiet).id, Duration::ZERO).await.unwrap();
    }
    let mut left = 3;
    for received in 0.. {
        assert!(received < 50, "{left} of the quiet app's runs still wait");
        if receive(&ends).await.0 == quiet {
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
}
