//! Suspects: runs that have lost workers, and which runs are executed next to them.

use super::{World, has, somebody};
use runyard_runs::{Limits, RunId, RunService, RunStatus, protocol::LOST_ONE, service::create::Mode};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

impl World {
    /// Starts a worker of `service` that handles all messages, concurrently.
    fn start_worker(&self, service: &RunService) -> JoinHandle<()> {
        let (service, receive) = (service.clone(), Arc::clone(&self.backend.receive));
        tokio::spawn(async move {
            loop {
                let (run, service) = (receive().await, service.clone());
                tokio::spawn(async move { service.work(run).await });
            }
        })
    }

    async fn claims(&self, run: RunId) -> usize {
        self.events(run).await.iter().filter(|event| event.body.is_claim()).count()
    }
}

/// Two runs that have lost two workers each are executed one after the other, although one worker takes both messages.
/// A run that has lost none is executed at the same time.
pub async fn suspects_are_executed_one_at_a_time(world: World) {
    let world = world.limited(Limits { run_seconds: 86_400, ..Limits::default() });
    let mut suspects = Vec::new();
    for _ in 0..2 {
        suspects.push(world.created(Mode::Background, json!([{"wait_ms": 600_000}])).await.run.new.id);
    }
    for claims in 1..=2 {
        let lost = world.start_worker(&world.another_service());
        for run in &suspects {
            world
                .until(*run, |events| events.iter().filter(|event| event.body.is_claim()).count() == claims)
                .await;
        }
        lost.abort();
        world.clock.forward(Duration::from_mins(2));
        let swept = world.another_service().sweep(10).await.expect("the store answers");
        assert_eq!(swept.requeued, 2);
    }
    let process = world.another_service();
    let worker = world.start_worker(&process);
    let mut first = None;
    for _ in 0..1_000 {
        for run in &suspects {
            if first.is_none() && world.claims(*run).await == 3 {
                first = Some(*run);
            }
        }
        if first.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let first = first.expect("one of them is executed");
    let second = if first == suspects[0] { suspects[1] } else { suspects[0] };
    let other = world.created(Mode::Background, json!([{"step": "a"}])).await.run.new.id;
    world.until(other, has("run.completed")).await;
    world.until(second, |events| events.iter().filter(|event| event.body.is_claim()).count() == 3).await;
    let head = world.backend.runs.head(first).await.expect("the store answers").expect("the run");
    assert_eq!(head.record.attempts, LOST_ONE, "the first one was cleared before the second one began");
    for run in [first, second] {
        process.cancel(&world.app, run, &somebody()).await.expect("it is canceled");
        world.sealed(run).await;
    }
    worker.abort();
}

/// A shutdown hands over the runs of the process, and does not count as a lost worker.
pub async fn shutdowns_accuse_nobody(world: World) {
    let created = world.created(Mode::Sync, json!([{"wait_ms": 600_000}])).await;
    let id = created.run.new.id;
    world.until(id, has("run.started")).await;
    world.service.shut_down().await;
    for claims in 2..=7 {
        let process = world.another_service();
        let worker = world.start_worker(&process);
        world.until(id, |events| events.iter().filter(|event| event.body.is_claim()).count() == claims).await;
        worker.abort();
        process.shut_down().await;
        let head = world.backend.runs.head(id).await.expect("the store answers").expect("the run");
        assert_eq!((head.record.attempts, head.record.status), (0, RunStatus::Started));
    }
    world.service.cancel(&world.app, id, &somebody()).await.expect("it is canceled");
    world.sealed(id).await;
}
