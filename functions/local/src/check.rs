//! Checks an app in a separate process: a changed file may need more memory, time or stack than is available, and must
//! not exhaust those of the server.
//!
//! An app that passes is then loaded by the server, within the same limits and on more stack. At its start the server
//! checks apps itself: it has no runs yet that a crash could end.

use anyhow::{Context, Result};
use runyard_boot::engine::{self, Reach};
use runyard_runs::{App, BoxError, Engine};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde_json::json;
use std::{
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The hidden command that checks an app.
pub(crate) const COMMAND: &str = "check-app";

/// How long a check may take.
const TIME: Duration = Duration::from_secs(10);
/// Address space of a check, in bytes.
const MEMORY: u64 = 1 << 30;
/// Stack of a check, in bytes: less than that of the server's threads, so that what passes here passes there.
const STACK: usize = 1 << 20;
/// How often the child's exit is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of the child's output that are read.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// Checks an app in a child process; blocks.
pub(crate) fn elsewhere(app: &App) -> Result<(), BoxError> {
    let stopped = |why: String| format!("the check of {} was stopped: {why}", app.name);
    let app = serde_json::to_vec(app)?;
    let mut child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| stopped(format!("cannot start it: {error}")))?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    // If the child dies, the write fails and the output is incomplete; its exit status is checked first.
    let writer = thread::spawn(move || input.map(|mut input| input.write_all(&app)));
    let reader = thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = output.map(|output| output.take(MAX_OUTPUT_BYTES).read_to_end(&mut answer));
        answer
    });
    let ended = wait(&mut child, TIME);
    let _ = writer.join();
    let answer = reader.join().unwrap_or_default();
    let status = ended.map_err(|error| stopped(error.to_string()))?;
    let Some(status) = status else {
        return Err(stopped(format!("it took more than {} s", TIME.as_secs())).into());
    };
    if !status.success() {
        return Err(stopped(why(status)).into());
    }
    let answer: serde_json::Value =
        serde_json::from_slice(&answer).map_err(|_| stopped("its output is not JSON".into()))?;
    match answer["problem"].as_str() {
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

/// Returns how a child ended; `None` if it took too long and was killed.
fn wait(child: &mut Child, time: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > time {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn why(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) if signal == Signal::XCPU.as_raw() => {
            format!("it took more than {} s of CPU time", TIME.as_secs())
        }
        (Some(signal), _) => format!(
            "it needs more than {} MiB of memory or {} KiB of stack (signal {signal})",
            MEMORY >> 20,
            STACK >> 10
        ),
        (None, Some(code)) => format!("it failed with exit code {code}"),
        (None, None) => "it failed".into(),
    }
}

/// The child: reads an app from stdin and prints its error, if any, as JSON.
pub(crate) fn here() -> Result<()> {
    let limit = |resource, max| setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) });
    limit(Resource::As, MEMORY).context("cannot limit the memory")?;
    limit(Resource::Cpu, TIME.as_secs()).context("cannot limit the time")?;
    limit(Resource::Core, 0).context("cannot disable core dumps")?;
    let mut app = Vec::new();
    std::io::stdin().read_to_end(&mut app).context("cannot read the app")?;
    let app: App = serde_json::from_slice(&app).context("stdin is not an app")?;
    let checking = thread::Builder::new().stack_size(STACK).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { engine::start(Reach::Loopback, Vec::new()).check_app(&app).await })
    });
    let checked = checking.context("cannot start a thread")?.join();
    let checked = checked.map_err(|_| anyhow::anyhow!("the check panicked"))?;
    let problem = checked.err().map(|problem| problem.to_string());
    println!("{}", json!({ "problem": problem }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_a_signal_and_an_exit_code_are_told_apart() {
        let start = |script: &str| Command::new("sh").args(["-c", script]).spawn().expect("a shell");
        let mut child = start("sleep 60");
        assert_eq!(wait(&mut child, Duration::from_millis(50)).expect("it is killed"), None);
        let ended = |script: &str| wait(&mut start(script), TIME).expect("it ends").expect("in time");
        assert!(ended("exit 0").success());
        assert!(why(ended("exit 3")).contains("exit code 3"));
        assert!(why(ended("kill -ABRT $$")).contains("1024 MiB of memory or 1024 KiB of stack (signal 6)"));
        assert!(why(ended("kill -XCPU $$")).contains("10 s of CPU time"));
    }
}
