//! The memory that a process and its descendants use.

use serde_json::{Value, json};
use std::{collections::HashMap, fs};

/// The memory of a process and its descendants, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// Resident memory; shared pages count once for each process.
    pub(super) rss: u64,
    /// Proportional memory: shared pages are divided among the processes that share them. Resident memory where the kernel
    /// does not report it.
    pub(super) pss: u64,
    pub(super) processes: usize,
}

impl Memory {
    /// Reads the memory of the process `pid`; zero if it has exited.
    pub(super) fn of(pid: u32) -> Self {
        let mut memory = Self::default();
        for pid in tree(pid) {
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let rss = kib(&status, "VmRSS:");
            // A process that denies others access (the sandbox) reports only its resident memory.
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let pss = kib(&rollup, "Pss:");
            memory.rss += rss;
            memory.pss += if pss == 0 { rss } else { pss };
            memory.processes += 1;
        }
        memory
    }

    pub(super) fn json(self) -> Value {
        json!({ "rss_mib": mib(self.rss), "pss_mib": mib(self.pss), "processes": self.processes })
    }
}

/// Converts KiB to MiB, with one decimal.
#[expect(clippy::cast_precision_loss, reason = "a machine's memory is far below 2^52 KiB")]
pub(super) fn mib(kib: u64) -> f64 {
    (kib as f64 / 102.4).round() / 10.0
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name, in parentheses, may contain any characters, including parentheses; the fields after it do not.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        tree.extend(children.remove(&tree[next]).unwrap_or_default());
        next += 1;
    }
    tree
}
