//! The program that tests of jobs start: real jobs that do hostile work.

use std::{
    fs::File,
    hint::{black_box, spin_loop},
    os::unix::net::UnixStream,
};

use runyard_sandbox::{JobConfig, Jobs};

fn main() {
    runyard_sandbox::enter_job_if_asked(perform);
    // Otherwise it acts as a server, which starts a job that never ends.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let jobs = Jobs::new(JobConfig::default());
    let done = runtime.block_on(async { jobs.turn(1).await.run("spin", b"").await });
    panic!("it ended: {done:?}");
}

fn perform(job: &str, input: Vec<u8>) -> Vec<u8> {
    match job {
        "echo" => input,
        "length" => input.len().to_string().into_bytes(),
        "spin" => loop {
            spin_loop();
        },
        "allocate" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1_u8; 1 << 20]);
                black_box(&held);
            }
        }
        "recurse" => recurse(0).to_string().into_bytes(),
        "output" => vec![b'x'; 1 << 20],
        "panic" => panic!("as asked"),
        "exit" => std::process::exit(7),
        "reach" => {
            let reached = File::open("/proc/self/environ").is_ok() || UnixStream::pair().is_ok();
            let variables = std::env::vars_os().count();
            format!("{reached} {variables}").into_bytes()
        }
        other => format!("no job {other}").into_bytes(),
    }
}

#[expect(unconditional_recursion, reason = "must overflow the stack")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + 1)
}
