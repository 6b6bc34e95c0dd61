//! Lists a page of 25 of 1,000,000 runs (or `RUNS`), with the count: the first page and one in the middle.

use crate::data;
use criterion::Criterion;
use runyard_runs::{ListQuery, PageStart, ReportedStatus, RunStore, Sort, SortBy};
use std::time::Duration;
use uuid::Uuid;

pub(crate) fn run(criterion: &mut Criterion) {
    let count = std::env::var("RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let dir = data::directory();
    data::fill(dir.path(), count);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let embedded = data::open(dir.path());
    let store = embedded.runs();
    let mut group = criterion.benchmark_group(format!("list of {count}"));
    group
        .sample_size(10)
        .measurement_time(Duration::from_millis(500))
        .warm_up_time(Duration::from_millis(200));
    for (name, query) in queries() {
        let middle = ListQuery { start: PageStart::Offset(count / 50), ..query.clone() };
        let cursor = runtime.block_on(store.list(&middle)).expect("it is served").next_cursor;
        let mut bench = |name: String, query: &ListQuery| {
            let (mut pages, before) = (0_u32, data::cpu_of("runyard-read"));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    pages += 1;
                    runtime.block_on(store.list(query)).expect("it is served")
                });
            });
            let cpu = data::cpu_of("runyard-read").saturating_sub(before) / pages.max(1);
            println!("    the reader threads: {} µs of CPU per page", cpu.as_micros());
        };
        bench(format!("{name}, first page"), &query);
        if let Some(cursor) = cursor {
            bench(
                format!("{name}, by cursor"),
                &ListQuery { start: PageStart::Cursor(cursor), ..query.clone() },
            );
        }
    }
    group.finish();
}

fn queries() -> Vec<(&'static str, ListQuery)> {
    let all = ListQuery {
        app: data::APP,
        statuses: Vec::new(),
        user_id: None,
        session_id: None,
        metadata: Vec::new(),
        sort: vec![Sort { by: SortBy::StartedAt, descending: true }],
        start: PageStart::Offset(0),
        page_size: 25,
    };
    let status = |statuses: &[ReportedStatus]| ListQuery { statuses: statuses.to_vec(), ..all.clone() };
    let user = |user: &str| ListQuery { user_id: Some(user.to_owned()), ..all.clone() };
    let label = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let sorted = |by| ListQuery { sort: vec![Sort { by, descending: false }], ..all.clone() };
    let failed = vec![ReportedStatus::Failed, ReportedStatus::Canceled];
    let session_id = Some(Uuid::from_u128(1));
    vec![
        ("all", all.clone()),
        ("status completed", status(&[ReportedStatus::Completed])),
        ("status failed, canceled", status(&failed)),
        ("status awaiting input", status(&[ReportedStatus::AwaitingInput])),
        ("user of 30 %", user("big")),
        ("user of 30 %, status failed, canceled", ListQuery { statuses: failed.clone(), ..user("big") }),
        ("user of 0.03 %", user("user 3")),
        ("session of 20 %", ListQuery { session_id, ..all.clone() }),
        ("label of 50 %", ListQuery { metadata: label("env", "prod"), ..all.clone() }),
        ("label of 0.1 %", ListQuery { metadata: label("customer", "c77"), ..all.clone() }),
        ("user of 30 % and label of 50 %", ListQuery { metadata: label("env", "prod"), ..user("big") }),
        ("user of 30 % and session of 20 %", ListQuery { session_id, ..user("big") }),
        ("user of 30 % and label of 0.1 %", ListQuery { metadata: label("customer", "c77"), ..user("big") }),
        (
            "user of 30 % and a label that no run has",
            ListQuery { metadata: label("env", "no"), ..user("big") },
        ),
        ("by ended_at", sorted(SortBy::EndedAt)),
        ("by status", sorted(SortBy::Status)),
    ]
}
