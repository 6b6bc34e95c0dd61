//! The process that the crash tests kill: this test program, executing one test that is ignored otherwise.
//!
//! It prints a line for each acknowledged write: `run <id>`, `entry <run> <sequence>` or `file <id>`. After the given
//! number of rounds it prints `holding` and sleeps.

use bytes::Bytes;
use runyard_conformance::make;
use runyard_embedded::{Embedded, Options};
use runyard_runs::{
    AppId, Append, Create, EventBody, Field, FileId, FileStore, Guard, Ids, NewFile, Record, RecordChange,
    RunStatus, RunStore, SystemClock, SystemIds,
};
use std::{
    env,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// The process, killed on drop.
pub(crate) struct Writer(pub(crate) Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the process on a data directory.
pub(crate) fn start(dir: &Path, rounds: u64) -> Writer {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "writer::writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env("WRITER_DIR", dir)
        .env("WRITER_ROUNDS", rounds.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Writer(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests"]
async fn writes_until_it_is_killed() {
    let Ok(dir) = env::var("WRITER_DIR") else { return };
    let rounds: u64 = env::var("WRITER_ROUNDS").unwrap().parse().unwrap();
    // End the line that the test harness has begun.
    print_line("");
    let embedded = Embedded::open(Path::new(&dir), Arc::new(SystemClock), &SystemIds, Options::default());
    let embedded = Arc::new(embedded.unwrap());
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let embedded = Arc::clone(&embedded);
            tokio::spawn(async move {
                for round in 0..rounds {
                    one_run(embedded.runs().as_ref()).await;
                    if round % 4 == 0 {
                        one_file(embedded.files().as_ref()).await;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    print_line("holding");
    tokio::time::sleep(Duration::from_mins(10)).await;
}

async fn one_run(store: &dyn RunStore) {
    let (run, claim) = (make::run(AppId(uuid::Uuid::nil())), make::claim());
    let due = Some(make::NOW + Duration::from_hours(1_000_000));
    let record = Record { owner: Some(claim), due, ..make::record() };
    assert_eq!(store.create(&run, &record).await.expect("it is created"), Create::Done);
    print_line(&format!("run {}", run.id));
    let first = make::entry(run.id, 1, claim, vec![EventBody::RunStarted]);
    let change = RecordChange {
        upto: Some(1),
        status: Some(RunStatus::Started),
        due: Field::Keep,
        ..Default::default()
    };
    let append = store.commit(&first, &change, &Guard::Owner(claim)).await.expect("it is committed");
    assert_eq!(append, Append::Done);
    print_line(&format!("entry {} 1", run.id));
    for sequence in 2..5 {
        let entry = make::checkpoints(run.id, sequence, claim, 1, 2000);
        assert_eq!(store.append(&entry).await.expect("it is appended"), Append::Done);
        print_line(&format!("entry {} {sequence}", run.id));
    }
}

async fn one_file(store: &dyn FileStore) {
    let file = NewFile {
        id: FileId(SystemIds.random()),
        app: AppId(uuid::Uuid::nil()),
        name: "f".to_owned(),
        mime_type: "text/plain".to_owned(),
        expires_at: make::NOW + Duration::from_hours(1_000_000),
    };
    let id = file.id;
    let mut upload = store.create(file).await.expect("it begins");
    for _ in 0..5 {
        upload.write(Bytes::from(vec![7; 100_000])).await.expect("it is written");
    }
    upload.finish().await.expect("it is finished");
    print_line(&format!("file {id}"));
}

/// Prints the line completely, before the next write begins.
fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}
