//! What the store does beyond the ports' promises: where content is stored, what expires, how lost responses are
//! handled.

mod fixture;

use fixture::{
    Stack,
    faults::{CONFLICT, DENIED, Fault, Faults, THROTTLED},
    stack::FixedClock,
};
use runyard_aws::{Aws, Clients, table};
use runyard_conformance::{list::query, make};
use runyard_runs::{
    Append, Create, Field, Guard, ListQuery, PageStart, RecordChange, ReportedStatus, RunStatus, RunStore,
    StoreError, SystemIds, Timestamp, Update,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

async fn stack() -> Stack {
    Stack::new(Arc::new(FixedClock(make::NOW))).await
}

/// A second process on the same stack, whose clock is set to `now`.
fn process(stack: &Stack, clients: Clients, now: Timestamp) -> Aws {
    Aws::with_clients(stack.config.clone(), clients, Arc::new(FixedClock(now)), Arc::new(SystemIds))
}

fn faulty(stack: &Stack) -> (Arc<Faults>, Aws) {
    let faults = Arc::<Faults>::default();
    let clients = Clients { dynamodb: faults.client(&stack.clients.dynamodb), ..stack.clients.clone() };
    let aws = process(stack, clients, make::NOW);
    (faults, aws)
}

async fn objects(stack: &Stack) -> Vec<String> {
    let listed = stack.clients.s3.list_objects_v2().bucket(&stack.config.bucket).send().await;
    let listed = listed.expect("the bucket exists");
    listed.contents().iter().map(|object| object.key().expect("a key").to_owned()).collect()
}

/// A small input is stored in the record, a medium one in a separate item, a large one in the bucket; one read of the
/// table returns each.
#[tokio::test(flavor = "multi_thread")]
async fn inputs_of_any_size_are_stored() {
    let stack = stack().await;
    let runs = stack.aws.runs();
    for (size, objects_then) in [(0, 0), (500, 0), (900, 0), (30_000, 0), (33_000, 1), (4_000_000, 2)] {
        let mut run = make::run(make::app());
        run.input = json!({"text": "x".repeat(size)}).as_object().cloned().unwrap().into();
        assert_eq!(runs.create(&run, &make::record()).await.unwrap(), Create::Done);
        assert_eq!(runs.create(&run, &make::record()).await.unwrap(), Create::Exists, "{size}");
        stack.meter.reset();
        let stored = runs.get(run.id).await.unwrap().unwrap();
        assert!(stored.new == run, "{size}");
        assert_eq!(stack.meter.usage().reads, 1);
        let page = runs.list(&query(run.app)).await.unwrap();
        assert!(page.runs == [stored], "{size}");
        assert_eq!(objects(&stack).await.len(), objects_then, "{size}");
    }
}

/// Entries over 32 KiB are stored in the bucket, all of a run under one prefix, which says how long they are kept.
#[tokio::test(flavor = "multi_thread")]
async fn large_entries_are_stored_in_the_bucket() {
    let stack = stack().await;
    let runs = stack.aws.runs();
    let run = make::run(make::app());
    runs.create(&run, &make::record()).await.unwrap();
    let mut entries = Vec::new();
    for (index, bytes) in [10, 40_000, 3_000_000, 20].into_iter().enumerate() {
        let entry = make::checkpoints(run.id, index as u64 + 1, make::claim(), 1, bytes);
        let appended = if index % 2 == 0 {
            runs.append(&entry).await.unwrap()
        } else {
            runs.commit(&entry, &RecordChange::default(), &Guard::Always).await.unwrap()
        };
        assert_eq!(appended, Append::Done);
        entries.push(entry);
    }
    // A writer that loses the race does not overwrite the winner's object.
    let late = make::checkpoints(run.id, 2, make::claim(), 1, 50_000);
    assert_eq!(runs.append(&late).await.unwrap(), Append::Taken);
    let log = runs.read(run.id, 1).await.unwrap().unwrap();
    assert!(log.more && log.entries == entries[..3], "a read ends after 3 MiB");
    assert!(runs.read(run.id, 4).await.unwrap().unwrap().entries == entries[3..]);
    let prefix = format!("runs/4d/{}/{}/", run.app, run.id);
    let objects = objects(&stack).await;
    assert!(objects.len() == 3 && objects.iter().all(|key| key.starts_with(&prefix)), "{objects:?}");
}

/// A record stays under 1 KiB in every state of the run: a write of it costs one unit.
#[tokio::test(flavor = "multi_thread")]
async fn records_stay_small() {
    let stack = stack().await;
    let runs = stack.aws.runs();
    for size in (0..1100).step_by(50) {
        let mut run = make::run(make::app());
        run.user_id = Some("u".repeat(300));
        run.session_id = Some(make::claim().0);
        run.metadata = (0..size / 100).map(|n| (format!("key {n}"), "v".repeat(size / 16))).collect();
        run.input = json!({"text": "x".repeat(size)}).as_object().cloned().unwrap().into();
        runs.create(&run, &make::record()).await.unwrap();
        let entry = make::checkpoints(run.id, 1, make::claim(), 1, 0);
        let change = RecordChange {
            upto: Some(1_000_000_000),
            status: Some(RunStatus::Paused),
            unanswered: Some(true),
            ended_at: Some(make::NOW),
            owner: Field::Set(make::claim()),
            due: Field::Set(make::NOW),
            attempts: Some((4, 1_000_000_000)),
        };
        runs.commit(&entry, &change, &Guard::Always).await.unwrap();
        stack.meter.reset();
        let change = RecordChange { attempts: Some((4, 1_000_000_001)), ..RecordChange::default() };
        runs.update(run.id, &change, &Guard::Always).await.unwrap();
        let units = stack.meter.usage().write_units;
        assert!((units - 1.0).abs() < 0.01, "{units} units with an input of {size}");
        assert_eq!(runs.get(run.id).await.unwrap().unwrap().new, run);
    }
}

/// DynamoDB deletes late: readers do not see items whose time of deletion has passed, and see them until then.
#[tokio::test(flavor = "multi_thread")]
async fn expired_runs_are_not_found_before_they_are_deleted() {
    let stack = stack().await;
    let run = make::run(make::app());
    stack.aws.runs().create(&run, &make::record()).await.unwrap();
    let entry = make::checkpoints(run.id, 1, make::claim(), 1, 0);
    stack.aws.runs().append(&entry).await.unwrap();
    let deleted_at = run.expires_at + table::LINGER + Duration::from_secs(1);
    for (now, exists) in [(run.expires_at, true), (deleted_at, false)] {
        let runs = process(&stack, stack.clients.clone(), now).runs();
        assert_eq!(runs.get(run.id).await.unwrap().is_some(), exists);
        assert_eq!(runs.head(run.id).await.unwrap().is_some(), exists);
        assert_eq!(runs.read(run.id, 1).await.unwrap().is_some(), exists);
        assert_eq!(runs.read(run.id, 2).await.unwrap().is_some(), exists);
        let page = runs.list(&query(run.app)).await.unwrap();
        assert_eq!((page.runs.len(), page.total_count), (usize::from(exists), u64::from(exists)));
        let next = make::checkpoints(run.id, if exists { 2 } else { 3 }, make::claim(), 1, 0);
        let expected = if exists { Append::Done } else { Append::Refused };
        assert_eq!(runs.append(&next).await.unwrap(), expected);
    }
}

/// Every item of a run has the same TTL, so that DynamoDB leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn all_items_of_a_run_expire_together() {
    let stack = stack().await;
    let runs = stack.aws.runs();
    let mut run = make::run(make::app());
    run.input = json!({"text": "x".repeat(2000)}).as_object().cloned().unwrap().into();
    runs.create(&run, &make::record()).await.unwrap();
    let change = RecordChange::default();
    runs.commit(&make::checkpoints(run.id, 1, make::claim(), 1, 0), &change, &Guard::Always).await.unwrap();
    // Another process, which has not cached the run.
    let other = process(&stack, stack.clients.clone(), make::NOW).runs();
    other.append(&make::checkpoints(run.id, 2, make::claim(), 1, 40_000)).await.unwrap();
    let scanned = stack.clients.dynamodb.scan().table_name(&stack.config.table).send().await.unwrap();
    let expected = (run.expires_at + table::LINGER).0 / 1000 + 1;
    assert_eq!(scanned.items().len(), 4, "RUN, RUN#INPUT and two of LOG");
    for item in scanned.items() {
        assert_eq!(item[table::TTL].as_n().unwrap().parse(), Ok(expected), "{item:?}");
    }
}

/// A request whose response is lost is retried: it takes effect once, and the retry returns the outcome of the first
/// attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_does_not_change_the_outcome() {
    let stack = stack().await;
    let (faults, aws) = faulty(&stack);
    let runs = aws.runs();
    let lose_next = || faults.expect([Fault::LostReply]);
    let mut large = make::run(make::app());
    large.input = json!({"text": "x".repeat(5000)}).as_object().cloned().unwrap().into();
    for run in [make::run(make::app()), large] {
        lose_next();
        assert_eq!(runs.create(&run, &make::record()).await.unwrap(), Create::Done);
        assert_eq!(runs.create(&run, &make::record()).await.unwrap(), Create::Exists);
        lose_next();
        let claim = make::claim();
        let change = RecordChange { owner: Field::Set(claim), ..RecordChange::default() };
        assert_eq!(runs.update(run.id, &change, &Guard::Rev(0)).await.unwrap(), Update::Done);
        lose_next();
        let entry = make::checkpoints(run.id, 1, claim, 1, 0);
        let change = RecordChange { owner: Field::Clear, ..RecordChange::default() };
        assert_eq!(runs.commit(&entry, &change, &Guard::Owner(claim)).await.unwrap(), Append::Done);
        let head = runs.head(run.id).await.unwrap().unwrap();
        assert_eq!((head.record.rev, head.last), (2, Some(entry)));
        assert_eq!(faults.left(), 0);
    }
}

/// Throttles, conflicts and server errors are retried. If they persist, the outcome is unknown after a deadline.
#[tokio::test(flavor = "multi_thread")]
async fn temporary_errors_are_retried() {
    let stack = stack().await;
    let (faults, aws) = faulty(&stack);
    let runs = aws.runs();
    let run = make::run(make::app());
    faults.expect([THROTTLED, Fault::Refused(503, ""), THROTTLED]);
    assert_eq!(runs.create(&run, &make::record()).await.unwrap(), Create::Done);
    let entry = make::checkpoints(run.id, 1, make::claim(), 1, 0);
    faults.expect([CONFLICT, THROTTLED, CONFLICT]);
    let nothing = RecordChange::default();
    assert_eq!(runs.commit(&entry, &nothing, &Guard::Always).await.unwrap(), Append::Done);
    assert_eq!(faults.left(), 0);

    for fault in [THROTTLED, Fault::Refused(503, "")] {
        faults.expect([fault; 100]);
        let begun = std::time::Instant::now();
        let error = runs.head(run.id).await.unwrap_err();
        assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let error = runs.update(run.id, &nothing, &Guard::Always).await.unwrap_err();
        assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
    }
    faults.expect([CONFLICT; 100]);
    let error = runs.commit(&entry, &nothing, &Guard::Always).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
}

/// Errors that no retry can change are returned at once.
#[tokio::test(flavor = "multi_thread")]
async fn permanent_errors_are_not_retried() {
    let stack = stack().await;
    let (faults, aws) = faulty(&stack);
    faults.expect([DENIED, DENIED]);
    let error = aws.runs().create(&make::run(make::app()), &make::record()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Failed(_)), "{error:?}");
    assert_eq!(error.to_string(), "AccessDeniedException: not for you");
    assert_eq!(faults.left(), 1, "one request was sent");
}

/// With filters, matching runs may be far apart: they are found and counted across the pages of DynamoDB.
#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_rare_status_are_found() {
    const RUNS: usize = 12_000;
    let stack = stack().await;
    let runs = stack.aws.runs();
    let app = make::app();
    let mut rare = Vec::new();
    for step in 0..RUNS / 250 {
        let created = make::at_once(250, |index| {
            let runs = Arc::clone(&runs);
            let number = step * 250 + index;
            let mut run = make::run(app);
            run.created_at = Timestamp(make::NOW.0 + i64::try_from(number).unwrap());
            let mut record = make::record();
            record.due = None;
            if number % 5000 == 0 {
                record.status = RunStatus::Failed;
            }
            async move {
                runs.create(&run, &record).await.unwrap();
                (number % 5000 == 0).then_some(run.id)
            }
        });
        rare.extend(created.await.into_iter().flatten());
    }
    rare.reverse();
    let failed = ListQuery { statuses: vec![ReportedStatus::Failed], page_size: 2, ..query(app) };
    let page = runs.list(&failed).await.unwrap();
    let ids = |page: &runyard_runs::RunPage| page.runs.iter().map(|run| run.new.id).collect::<Vec<_>>();
    assert_eq!((ids(&page), page.total_count, page.capped), (rare[..2].to_vec(), 3, false));
    let next = ListQuery { start: PageStart::Cursor(page.next_cursor.unwrap()), ..failed };
    let page = runs.list(&next).await.unwrap();
    assert_eq!((ids(&page), page.total_count, page.next_cursor), (rare[2..].to_vec(), 3, None));
    let page = runs.list(&query(app)).await.unwrap();
    assert_eq!((page.runs.len(), page.total_count, page.capped), (25, 10_000, true));
}
