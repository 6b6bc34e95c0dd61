//! How many requests a run sends to DynamoDB: the bounds of the design.

mod fixture;

use fixture::{Stack, meter::Usage, service::Service};
use runyard_conformance::make;
use runyard_runs::{
    Clock, ListQuery, PageStart, RECORD_BYTES, RunStore, Sort, SortBy, StorageUsage, SystemClock,
    service::create::Mode,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

async fn stack() -> (Stack, Service) {
    let stack = Stack::new(Arc::new(SystemClock)).await;
    let service = Service::on(&stack);
    service.at_hand().await;
    stack.meter.reset();
    (stack, service)
}

fn requests(usage: Usage) -> (u64, u64) {
    (usage.reads, usage.writes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_run_is_two_writes_and_no_read() {
    let (stack, service) = stack().await;
    service.sync_echo().await;
    let usage = stack.meter.usage();
    assert_eq!(requests(usage), (0, 2), "{:?}", stack.meter.by_operation());
}

/// Stored bytes are summed up in memory: counting them costs at most one write per 30 s, or per MiB. Shutdown counts the
/// rest.
#[tokio::test(flavor = "multi_thread")]
async fn stored_bytes_of_many_runs_are_counted_by_one_write() {
    const RUNS: u64 = 25;
    let (stack, service) = stack().await;
    for _ in 0..RUNS {
        service.sync_echo().await;
    }
    let operations = stack.meter.by_operation();
    assert_eq!(requests(stack.meter.usage()), (0, 2 * RUNS), "{operations:?}");
    service.runs.shut_down().await;
    assert_eq!(stack.meter.usage().writes, 2 * RUNS + 1, "{operations:?}");
    let (app, now) = (service.app.id, SystemClock.now());
    let here = stack.aws.usage().stored_bytes(app, now).await.unwrap();
    assert!(here > RUNS * RECORD_BYTES, "{here}");
    let elsewhere = stack.another().usage().stored_bytes(app, now).await.unwrap();
    assert_eq!(elsewhere, here, "another process reads it");
}

/// Large entries are counted at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_is_counted_at_once() {
    let (stack, service) = stack().await;
    let run = make::run(service.app.id);
    stack.aws.runs().create(&run, &make::record()).await.unwrap();
    let entry = make::checkpoints(run.id, 1, make::claim(), 1, 1 << 20);
    stack.aws.runs().append(&entry).await.unwrap();
    let operations = stack.meter.by_operation();
    assert_eq!((operations["PutItem"], operations["UpdateItem"]), (2, 1), "{operations:?}");
    let elsewhere = stack.another().usage().stored_bytes(service.app.id, make::NOW).await.unwrap();
    assert!(elsewhere > 1 << 20, "{elsewhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_run_is_three_writes_and_one_message_at_most() {
    let (stack, service) = stack().await;
    let id = service.echo(Mode::Background).await.run.new.id;
    assert_eq!(requests(stack.meter.usage()), (0, 1));
    service.runs.work(id).await.unwrap();
    let run = service.runs.get(&service.app, id).await.unwrap();
    assert!(run.status.is_terminal());
    let usage = stack.meter.usage();
    assert!(usage.writes <= 3, "{:?}", stack.meter.by_operation());
    assert_eq!(usage.reads, 3, "the run, its log, and the read above");
    assert_eq!(service.queue.sent(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_run_is_one_read() {
    let (stack, service) = stack().await;
    let id = service.sync_echo().await;
    stack.meter.reset();
    service.runs.get(&service.app, id).await.unwrap();
    assert_eq!(requests(stack.meter.usage()), (1, 0));
    stack.meter.reset();
    stack.aws.runs().head(id).await.unwrap().unwrap();
    assert_eq!(requests(stack.meter.usage()), (1, 0));
    // A follower, which has read to the end.
    stack.meter.reset();
    stack.aws.runs().read(id, 3).await.unwrap().unwrap();
    assert_eq!(requests(stack.meter.usage()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_two_reads() {
    let (stack, service) = stack().await;
    for _ in 0..60 {
        service.sync_echo().await;
    }
    let mut query = ListQuery {
        app: service.app.id,
        statuses: Vec::new(),
        user_id: None,
        session_id: None,
        metadata: Vec::new(),
        sort: vec![Sort { by: SortBy::StartedAt, descending: true }],
        start: PageStart::Offset(0),
        page_size: 25,
    };
    for left in [60, 35, 10] {
        stack.meter.reset();
        let page = service.runs.list(&query).await.unwrap();
        assert_eq!((page.runs.len(), page.total_count), (left.min(25), 60));
        assert_eq!(requests(stack.meter.usage()), (2, 0), "{:?}", stack.meter.by_operation());
        assert!(page.runs.iter().all(|run| run.output.is_some()));
        if let Some(cursor) = page.next_cursor {
            query.start = PageStart::Cursor(cursor);
        }
    }
}

/// Streams a tenth of the minute of the benchmark.
#[tokio::test(flavor = "multi_thread")]
async fn deltas_are_gathered() {
    let (stack, service) = stack().await;
    let begun = Instant::now();
    let mut latencies = service.stream_deltas(300, Duration::from_millis(20)).await;
    let gathered = begun.elapsed().as_millis() / 100;
    // One write every 100 ms; the creation, the claim, the first delta and the end; and counting the stream, twice.
    assert!(u128::from(stack.meter.usage().writes) <= gathered + 6, "{:?}", stack.meter.by_operation());
    // Half of the 100 ms, and a write; the benchmark, on an idle machine, asserts 60 ms.
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    assert!(median <= Duration::from_millis(150), "the median latency of a delta is {median:?}");
}
