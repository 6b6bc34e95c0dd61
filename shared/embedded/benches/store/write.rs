//! Creates and ends a run, the two writes of a synchronous run, by 1, 16 and 256 concurrent callers. Reports µs per
//! run, and the CPU time of the writer thread.

use crate::data;
use criterion::{Criterion, Throughput};
use runyard_runs::{
    AppId, ClaimId, Create, ENTRY_VERSION, Entry, EventBody, Field, Guard, Ids, LogState, Logged, NewRun,
    NodeRef, Record, RecordChange, RunId, RunStatus, RunStore, SystemIds, Timestamp,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) fn run(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let dir = data::directory();
    let embedded = data::open(dir.path());
    let mut group = criterion.benchmark_group("create and commit");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    for callers in [1, 16, 256] {
        let (mut runs, before) = (0, data::cpu_of("runyard-write"));
        group.bench_function(format!("{callers} callers"), |bencher| {
            bencher.iter_custom(|count| {
                runs += count;
                runtime.block_on(many(&embedded.runs(), callers, count))
            });
        });
        let cpu = data::cpu_of("runyard-write").saturating_sub(before);
        println!("    the writer thread: {} µs of CPU per run", cpu.as_micros() / u128::from(runs.max(1)));
    }
    group.finish();
    let size: u64 = fs::metadata(dir.path().join("runyard.db")).map_or(0, |file| file.len());
    println!("    the database: {} KiB; resident: {}", size / 1024, data::resident());
}

async fn many(store: &Arc<runyard_embedded::Runs>, callers: u64, count: u64) -> Duration {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let store = Arc::clone(store);
            let runs = count / callers + u64::from(caller < count % callers);
            tokio::spawn(async move {
                for _ in 0..runs {
                    one(store.as_ref()).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no caller panics");
    }
    begun.elapsed()
}

/// What a synchronous run of `echo` writes: about 1 KiB of log.
async fn one(store: &dyn RunStore) {
    let (id, claim, now) =
        (RunId(SystemIds.ordered()), ClaimId(SystemIds.random()), Timestamp(1_781_082_921_000));
    let due = Some(now + Duration::from_mins(1));
    let run = NewRun {
        id,
        app: AppId(uuid::Uuid::from_u128(7)),
        app_version: "1d2fa4c1e2c34b1f1d2fa4c1e2c34b1f".to_owned(),
        created_at: now,
        expires_at: now + Duration::from_hours(720),
        input: json!({"text": "hello"}).as_object().cloned().unwrap_or_default().into(),
        user_id: None,
        session_id: None,
        metadata: BTreeMap::new(),
        files: Vec::new(),
        retry_of: None,
        origin: runyard_runs::Origin::Key,
    };
    let record = Record {
        upto: 0,
        status: RunStatus::Created,
        unanswered: false,
        ended_at: None,
        owner: Some(claim),
        due,
        attempts: 0,
        attempts_at: 0,
        rev: 0,
    };
    assert_eq!(store.create(&run, &record).await.expect("it is created"), Create::Done);
    let mut events = vec![EventBody::RunStarted];
    for name in ["input", "echo", "output"] {
        let kind = format!("dynamiq.nodes.utils.{name}");
        let node = Arc::new(NodeRef { id: name.to_owned(), name: name.to_owned(), kind });
        events.push(EventBody::NodeStarted { node: Arc::clone(&node), input: None });
        events.push(EventBody::NodeCompleted { node, output: json!({"text": "hello"}).into() });
    }
    events.push(EventBody::RunCompleted { output: json!({"text": "hello"}).into() });
    let events: Vec<_> = events.into_iter().map(Logged::from).collect();
    let state = LogState::default().after(claim, 1, now, &events);
    let entry =
        Entry { run: id, first: 1, version: ENTRY_VERSION, writer: claim, nonce: 0, at: now, state, events };
    let change = RecordChange {
        upto: Some(entry.last()),
        status: Some(RunStatus::Completed),
        unanswered: Some(false),
        ended_at: Some(now),
        owner: Field::Clear,
        due: Field::Clear,
        attempts: None,
    };
    let guard = Guard::LeaseFree { claim, now };
    store.commit(&entry, &change, &guard).await.expect("it is ended");
}
