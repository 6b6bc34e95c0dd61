//! How much memory the process may use, and what follows from that.

use rustix::process::{Resource, getrlimit};
use std::{env, fs, os::unix::process::CommandExt, process::Command};

/// The part of the memory that requests and runs may take: the rest is for the server itself, and for what is counted too
/// low.
const PART: u64 = 4;

/// If nothing says how much there is.
const UNKNOWN: u64 = 4 << 30;

/// glibc's name for how many arenas it makes.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// What requests and runs may take together unless it is said, in bytes.
pub(crate) fn for_runs() -> u64 {
    limit() / PART
}

/// The least of what limits the process's memory: its address space, its control group, the machine.
fn limit() -> u64 {
    let limits = [getrlimit(Resource::As).current, of_group(), of_machine()];
    limits.into_iter().flatten().min().unwrap_or(UNKNOWN)
}

/// Each arena of glibc's takes 64 MiB of address space, and it makes eight for each processor: where that is limited, few must
/// do. It reads this before `main`, so the process begins anew with it, under the same id.
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
        // Only returns if it failed: then this process goes on as it is.
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
    // Without a limit it is a word, or more than any machine has.
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
    fn the_memory_is_known() {
        assert!(of_machine().is_some_and(|bytes| bytes > 64 << 20));
        assert!(limit() <= of_machine().unwrap());
    }
}
