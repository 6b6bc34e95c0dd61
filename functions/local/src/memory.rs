//! How much memory the process may use, and the limits derived from it.

use rustix::process::{Resource, getrlimit};
use std::{env, fs, os::unix::process::CommandExt, process::Command};

/// Requests and runs may take one in this many bytes; the rest is for the server, and for what is underestimated.
const DIVISOR: u64 = 4;

/// Bytes to assume if no limit can be read.
const FALLBACK: u64 = 4 << 30;

/// glibc's variable for its maximum number of arenas.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// The default limit on the memory of requests and runs together, in bytes.
pub(crate) fn for_runs() -> u64 {
    limit() / DIVISOR
}

/// The lowest limit on the process's memory: of its address space, its control group, or the machine.
fn limit() -> u64 {
    let limits = [getrlimit(Resource::As).current, of_group(), of_machine()];
    limits.into_iter().flatten().min().unwrap_or(FALLBACK)
}

/// Limits the allocator's arenas if the address space is limited: glibc makes eight per processor, of 64 MiB each. It
/// reads the variable before `main`, so the process executes itself again, with the same pid.
pub(crate) fn restrain_allocator() {
    if getrlimit(Resource::As).current.is_none() || env::var_os(ARENAS).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let mut arguments = env::args_os();
        let name = arguments.next();
        let mut again = Command::new(program);
        if let Some(name) = name {
            again.arg0(name);
        }
        // `exec` returns only if it failed: then this process continues unchanged.
        let _ = again.args(arguments).env(ARENAS, "2").exec();
    }
}

fn of_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
    let files = [
        format!("/sys/fs/cgroup{own}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    // Without a limit the file holds a word, or a number larger than any machine's memory.
    files.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

fn of_machine() -> Option<u64> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{limit, of_machine};

    #[test]
    fn the_memory_limit_is_read() {
        assert!(of_machine().is_some_and(|bytes| bytes > 64 << 20));
        assert!(limit() <= of_machine().unwrap());
    }
}
