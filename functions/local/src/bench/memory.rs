//! What a process and its children hold of the machine's memory.

use serde_json::{Value, json};
use std::{collections::HashMap, fs};

/// In KiB, of a process and all that descend from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// Resident; pages that processes share count once for each.
    pub(super) rss: u64,
    /// The same with shared pages divided among those that share them; resident where the kernel does not tell.
    pub(super) pss: u64,
    pub(super) processes: usize,
}

impl Memory {
    /// Of the process `pid` now; zero if it is gone.
    pub(super) fn of(pid: u32) -> Self {
        let mut memory = Self::default();
        for pid in tree(pid) {
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let rss = kib(&status, "VmRSS:");
            // A process that lets no other look into it (the sandbox) tells only how much is resident.
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

/// With one decimal.
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
        // The name, in parentheses, may hold anything; what follows does not.
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
