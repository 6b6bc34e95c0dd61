//! The result of `runyard chaos`.

use super::{
    load::{Followed, Load},
    outside::{Outside, Step},
};
use crate::cli::{json_line, table_of};
use anyhow::Result;
use serde_json::json;
use tokio::time::Instant;

/// Number of problems that are printed; the rest are only counted.
const MAX_PRINTED: usize = 10;

/// The figures, as printed.
pub(crate) struct Report {
    kills: u32,
    poison_kills: u32,
    accepted: usize,
    completed: usize,
    /// Runs that ended, but did not complete.
    lost: usize,
    /// Runs that have not ended.
    stuck: usize,
    /// Runs that repeated a recorded call, or made a call more often than workers had them.
    doubled: usize,
    /// Calls that were in flight when a worker was lost, and were repeated.
    repeated: usize,
    /// The error code of the poison run, if it failed.
    poison: Option<String>,
    within: [u64; 3],
    settled_seconds: f64,
    problems: Vec<String>,
}

impl Report {
    pub(super) async fn of(
        load: &Load,
        outside: &Outside,
        kills: u32,
        poison_kills: u32,
        last_kill: Instant,
    ) -> Result<Self> {
        let within = load.within();
        let mut report = Self {
            kills,
            poison_kills,
            accepted: 0,
            completed: 0,
            lost: 0,
            stuck: 0,
            doubled: 0,
            repeated: 0,
            poison: None,
            within: [within.value_at_quantile(0.5), within.value_at_quantile(0.99), within.max()],
            settled_seconds: 0.0,
            problems: load.problems(),
        };
        for (token, run) in load.runs() {
            report.count(&token, &run, last_kill);
            if !run.poison {
                report.look_for_doubles(&token, &run, &outside.calls(&token), load).await?;
            }
        }
        Ok(report)
    }

    fn count(&mut self, token: &str, run: &Followed, last_kill: Instant) {
        if let Some((.., at)) = &run.ended {
            self.settled_seconds = self.settled_seconds.max((*at - last_kill).as_secs_f64());
        }
        if run.poison {
            self.poison = run.ended.as_ref().and_then(|(_, code, _)| code.clone());
            return;
        }
        self.accepted += 1;
        match &run.ended {
            Some((status, ..)) if status == "completed" => self.completed += 1,
            Some((status, code, _)) => {
                self.lost += 1;
                self.problems.push(format!("{token}: {status} {code:?}, run {}", run.id));
            }
            None => {
                self.stuck += 1;
                self.problems.push(format!("{token}: the run {} has not ended", run.id));
            }
        }
    }

    async fn look_for_doubles(
        &mut self,
        token: &str,
        run: &Followed,
        calls: &[Step],
        load: &Load,
    ) -> Result<()> {
        let count = |step| calls.iter().filter(|call| **call == step).count();
        let max_calls = count(Step::One).max(count(Step::Two));
        self.repeated += calls.len().saturating_sub(2);
        // The second call begins once the first is recorded, so a first call after a second one is a repetition.
        let repeated = calls.iter().skip_while(|call| **call == Step::One).any(|call| *call == Step::One);
        if repeated || (max_calls > 1 && max_calls > load.claims(&run.id).await?) {
            self.doubled += 1;
            self.problems.push(format!("{token}: called {calls:?}, run {}", run.id));
        }
        Ok(())
    }

    /// Returns whether nothing was lost, stuck or doubled, and only the poison run failed.
    pub(crate) fn is_good(&self, poison: bool) -> bool {
        let poison_failed = self.poison.as_deref() == Some("worker_lost");
        self.problems.is_empty()
            && self.accepted > 0
            && self.completed == self.accepted
            && poison_failed == poison
    }

    /// Prints the figures to stdout, and problems to stderr.
    pub(crate) fn print(&self, as_json: bool) -> Result<()> {
        for problem in self.problems.iter().take(MAX_PRINTED) {
            anstream::eprintln!("{problem}");
        }
        let [p50, p99, max] = self.within;
        if as_json {
            return json_line(&json!({
                "kills": self.kills,
                "poison_kills": self.poison_kills,
                "accepted": self.accepted,
                "completed": self.completed,
                "lost": self.lost,
                "stuck": self.stuck,
                "doubled": self.doubled,
                "repeated_calls": self.repeated,
                "poison": self.poison,
                "within_ms": { "p50": p50, "p99": p99, "max": max },
                "settled_seconds": self.settled_seconds,
                "problems": self.problems.len(),
            }));
        }
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        table_of(
            &["FIGURE", "VALUE"],
            &[
                row("kills", self.kills.to_string()),
                row("kills of the poison run", self.poison_kills.to_string()),
                row("runs accepted", self.accepted.to_string()),
                row("completed", self.completed.to_string()),
                row("lost", self.lost.to_string()),
                row("stuck", self.stuck.to_string()),
                row("doubled", self.doubled.to_string()),
                row("repeated calls that were in flight", self.repeated.to_string()),
                row("poison run", self.poison.clone().unwrap_or_else(|| "none".to_owned())),
                row("within ms: p50, p99, max", format!("{p50}, {p99}, {max}")),
                row("settled s", format!("{:.1}", self.settled_seconds)),
            ],
        )
    }
}
