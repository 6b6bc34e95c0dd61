//! Checks an app in a process of its own: a file that somebody has just changed may ask for more memory, time or stack than
//! there is, and that must not be the server's.
//!
//! What passes is loaded by the server too, within the same limits and on more stack. At the start the server checks for
//! itself: there is nothing yet that it could take along.

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

/// The hidden command that does it.
pub(crate) const COMMAND: &str = "check-app";

/// How long a check may take.
const TIME: Duration = Duration::from_secs(10);
/// Address space that a check may take, in bytes.
const MEMORY: u64 = 1 << 30;
/// Less than the threads of the server have, so that what passes here passes there.
const STACK: usize = 1 << 20;
/// How often is looked whether it is done.
const EACH: Duration = Duration::from_millis(5);
/// Bytes of what it says that are read.
const ANSWER: u64 = 1 << 20;

/// Checks an app in a child; blocks.
pub(crate) fn elsewhere(app: &App) -> Result<(), BoxError> {
    let stopped = |why: String| format!("the check of {} was stopped: {why}", app.name);
    let app = serde_json::to_vec(app)?;
    let mut child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| stopped(format!("it cannot be started: {error}")))?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    // A child that dies reads no more, and what it says is whatever it said.
    let writer = thread::spawn(move || input.map(|mut input| input.write_all(&app)));
    let reader = thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = output.map(|output| output.take(ANSWER).read_to_end(&mut answer));
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
        serde_json::from_slice(&answer).map_err(|_| stopped("it gave no answer".into()))?;
    match answer["problem"].as_str() {
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

/// How a child ended; nothing if it took too long, and was killed.
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
        thread::sleep(EACH);
    }
}

fn why(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) if signal == Signal::XCPU.as_raw() => {
            format!("it took more than {} s of a processor", TIME.as_secs())
        }
        (Some(signal), _) => format!(
            "it asks for more than {} MiB of memory or {} KiB of stack (signal {signal})",
            MEMORY >> 20,
            STACK >> 10
        ),
        (None, Some(code)) => format!("it failed with exit code {code}"),
        (None, None) => "it failed".into(),
    }
}

/// What the child does: reads an app, and says what is wrong with it.
pub(crate) fn here() -> Result<()> {
    let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::As, MEMORY).context("cannot limit the memory")?;
    limit(Resource::Cpu, TIME.as_secs()).context("cannot limit the time")?;
    limit(Resource::Core, 0).context("cannot do without a core dump")?;
    let mut app = Vec::new();
    std::io::stdin().read_to_end(&mut app).context("cannot read the app")?;
    let app: App = serde_json::from_slice(&app).context("this is no app")?;
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
    fn a_child_that_takes_too_long_or_dies_is_told_from_one_that_ends() {
        let start = |script: &str| Command::new("sh").args(["-c", script]).spawn().expect("a shell");
        let mut child = start("sleep 60");
        assert_eq!(wait(&mut child, Duration::from_millis(50)).expect("it is killed"), None);
        let ended = |script: &str| wait(&mut start(script), TIME).expect("it ends").expect("in time");
        assert!(ended("exit 0").success());
        assert!(why(ended("exit 3")).contains("exit code 3"));
        assert!(why(ended("kill -ABRT $$")).contains("1024 MiB of memory or 1024 KiB of stack (signal 6)"));
        assert!(why(ended("kill -XCPU $$")).contains("10 s of a processor"));
    }
}
