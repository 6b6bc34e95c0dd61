//! Jobs: their limits and their end.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use runyard_sandbox::{JobConfig, JobError, Jobs};

const PROGRAM: &str = env!("CARGO_BIN_EXE_runyard-sandbox-job");

/// Generous, since nothing is measured.
const TIMEOUT: Duration = Duration::from_secs(30);

fn config() -> JobConfig {
    JobConfig { program: Some(PROGRAM.into()), ..JobConfig::default() }
}

async fn run(config: JobConfig, job: &str, input: &[u8]) -> Result<Vec<u8>, JobError> {
    Jobs::new(config).turn(1).await.run(job, input).await
}

/// The program under a unique name, by which its processes are found.
struct Named(PathBuf);

impl Named {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("runyard-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(PROGRAM, &path).unwrap();
        Self(path)
    }

    fn processes(&self) -> usize {
        processes(|command, _| Path::new(command) == self.0)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Number of processes whose command and parent are `wanted`.
fn processes(wanted: impl Fn(&str, &str) -> bool) -> usize {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let is_wanted = |path: PathBuf| {
        let command = fs::read_to_string(path.join("cmdline")).ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // The name may contain any character; the state and the parent follow it.
        let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (rest.next()?, rest.next()?);
        Some(state != "Z" && wanted(command.split('\0').next()?, parent))
    };
    entries.filter(|entry| is_wanted(entry.path()).unwrap_or(false)).count()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < TIMEOUT, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_job_gets_its_input_and_returns_its_output() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    for input in [&b""[..], b"some text", &large] {
        assert!(run(config(), "echo", input).await.unwrap() == input);
    }
    // The job receives the name as it was given.
    assert_eq!(run(config(), "ech", b"").await.unwrap(), b"no job ech");
}

#[tokio::test]
async fn time_memory_and_output_have_limits() {
    let quick = JobConfig { timeout: Duration::from_millis(500), ..config() };
    assert!(matches!(run(quick, "spin", b"").await, Err(JobError::Timeout { .. })));
    for job in ["allocate", "recurse"] {
        let error = run(config(), job, b"").await;
        assert!(matches!(error, Err(JobError::Memory { .. })), "{job}: {error:?}");
    }
    let small = JobConfig { max_output_bytes: (1 << 20) - 1, ..config() };
    assert!(matches!(run(small, "output", b"").await, Err(JobError::Output { limit: 1_048_575 })));
    // The input counts, and all of the limit can be used.
    let little = || JobConfig { memory_bytes: 64 << 20, ..config() };
    assert_eq!(run(little(), "length", &vec![0; 32 << 20]).await.unwrap(), b"33554432");
    assert!(matches!(run(little(), "length", &vec![0; 100 << 20]).await, Err(JobError::Memory { .. })));
}

#[tokio::test]
async fn a_job_that_dies_affects_no_other() {
    for job in ["panic", "exit"] {
        let error = run(config(), job, b"").await;
        assert!(matches!(error, Err(JobError::Crashed(_))), "{job}: {error:?}");
    }
    // A program whose `main` lacks the call is reported.
    let other = JobConfig { program: Some("/bin/true".into()), ..config() };
    assert!(matches!(run(other, "echo", b"").await, Err(JobError::Unavailable(_))));
}

#[tokio::test]
async fn a_job_opens_no_file_or_socket() {
    assert_eq!(run(config(), "reach", b"").await.unwrap(), b"false 0");
}

#[tokio::test]
async fn a_job_without_a_caller_is_killed() {
    let program = Named::new("dropped");
    let jobs = Jobs::new(JobConfig { program: Some(program.0.clone()), ..config() });
    let job = tokio::spawn(async move { jobs.turn(1).await.run("spin", b"").await });
    until("it starts", || program.processes() == 1).await;
    job.abort();
    until("it is gone", || program.processes() == 0).await;
}

#[tokio::test]
async fn jobs_die_with_their_server() {
    let null = Stdio::null;
    let mut server = Command::new(PROGRAM).stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
    let parent = server.id().to_string();
    let mut job = None;
    until("it starts a job", || {
        job = child_of(&parent);
        job.is_some()
    })
    .await;
    let job = job.unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    until("the job is gone", || is_gone(&job)).await;
}

fn child_of(parent: &str) -> Option<String> {
    let children = fs::read_dir(format!("/proc/{parent}/task")).ok()?.filter_map(|task| {
        let path = task.ok()?.path().join("children");
        fs::read_to_string(path).ok()?.split_whitespace().next().map(str::to_owned)
    });
    let mut children = children;
    children.next()
}

fn is_gone(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .map_or(true, |stat| stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z')))
}

#[tokio::test]
async fn an_app_leaves_room_for_others() {
    let program = Named::new("turns");
    let config = JobConfig { program: Some(program.0.clone()), max_processes: 2, ..config() };
    let jobs = Jobs::new(config);
    let spin = |app: u128| {
        let jobs = jobs.clone();
        tokio::spawn(async move { jobs.turn(app).await.run("spin", b"").await })
    };
    let greedy: Vec<_> = (0..10).map(|_| spin(1)).collect();
    until("one starts", || program.processes() == 1).await;
    assert_eq!(jobs.turn(2).await.run("echo", b"x").await.unwrap(), b"x");
    // The process of the echo may outlive its answer for a moment.
    until("one app has at most half of the processes", || program.processes() == 1).await;
    greedy.iter().for_each(tokio::task::JoinHandle::abort);
    until("all are gone", || program.processes() == 0).await;
}
