//! Measures the requests and capacity units of DynamoDB, indexes included, that each mode uses, and the latency that
//! streaming adds to a delta.
//!
//! An interceptor of the SDK counts the requests. The units are the emulator's. Take write units from ministack, which
//! counts 2 per KiB in a transaction, as AWS documents (DynamoDB Local counts 4). Take read units from DynamoDB Local
//! (`RUNYARD_TEST_DYNAMODB=local`): ministack counts neither pages nor batches by size. `tests/requests.rs` asserts the
//! bounds too.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use fixture::{Stack, meter::Usage, service::Service};
use runyard_runs::{ListQuery, PageStart, Sort, SortBy, SystemClock, service::create::Mode};
use std::{sync::Arc, time::Duration};

const RUNS: usize = 200;

#[tokio::main]
async fn main() {
    let stack = Stack::new(Arc::new(SystemClock)).await;
    let service = Service::on(&stack);
    service.at_hand().await;
    stack.meter.reset();
    println!(
        "{:<34}{:>8}{:>8}{:>8}{:>14}{:>14}",
        "", "writes", "reads", "sends", "write units", "read units"
    );

    for _ in 0..RUNS {
        service.sync_echo().await;
    }
    row("sync echo", &stack, RUNS, 0);

    let sent = service.queue.sent();
    for _ in 0..RUNS {
        let id = service.echo(Mode::Background).await.run.new.id;
        service.runs.work(id).await.expect("the run is executed");
    }
    row("background echo", &stack, RUNS, service.queue.sent() - sent);

    let id = service.sync_echo().await;
    stack.meter.reset();
    service.runs.get(&service.app, id).await.expect("the run exists");
    row("get", &stack, 1, 0);

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
    let page = service.runs.list(&query).await.expect("a page");
    row(&format!("first page of 25, of {}", page.total_count), &stack, 1, 0);
    query.start = PageStart::Cursor(page.next_cursor.expect("more pages"));
    service.runs.list(&query).await.expect("a page");
    row("next page of 25", &stack, 1, 0);

    let mut latencies = service.stream_deltas(3000, Duration::from_millis(20)).await;
    let usage = row("a minute of 3,000 deltas", &stack, 1, 0);
    latencies.sort_unstable();
    let at = |percentile: usize| latencies[latencies.len() * percentile / 100].as_secs_f64() * 1000.0;
    println!(
        "\nlatency added to a delta: {:.0} ms at the median, {:.0} ms at p95, {:.0} ms at p99",
        at(50),
        at(95),
        at(99)
    );
    assert!(usage.writes <= 620 && at(50) <= 60.0, "{usage:?}");
}

/// Prints the usage since the last row, divided by `of`.
fn row(what: &str, stack: &Stack, of: usize, sent: u64) -> Usage {
    let usage = stack.meter.usage();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let per_run = |number: u64| number as f64 / of as f64;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (written, read) = (usage.write_units / of as f64, usage.read_units / of as f64);
    println!(
        "{what:<34}{:>8.2}{:>8.2}{:>8.2}{written:>14.2}{read:>14.2}",
        per_run(usage.writes),
        per_run(usage.reads),
        per_run(sent),
    );
    stack.meter.reset();
    usage
}
