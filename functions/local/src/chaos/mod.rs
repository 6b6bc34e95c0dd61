//! Kills a server again and again under load, and counts lost runs.
//!
//! | module | what |
//! | --- | --- |
//! | `outside` | the service that runs call: it counts calls, and reports those of the poison run, which need a kill |
//! | `server` | the server: start, kill, restart |
//! | `load` | clients that create runs and follow them to their end |
//! | `report` | the result |

mod load;
mod outside;
mod report;
mod server;

use crate::bench::{Folder, make_key};
use anyhow::{Context, Result};
use load::Load;
use outside::Outside;
use report::Report;
use server::Server;
use std::{fs, net::SocketAddr, ops::RangeInclusive, path::Path, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// The app of the runs.
const APP: &str = "chaos";

/// The options of `runyard chaos`.
pub(crate) struct Plan {
    pub(crate) kills: u32,
    /// How long the server lives between two kills.
    pub(crate) every: RangeInclusive<Duration>,
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) poison: bool,
    /// How long runs may take to end after the last kill.
    pub(crate) patience: Duration,
}

/// Starts a server, kills it as planned, and reports how its runs ended.
pub(crate) async fn run(plan: &Plan) -> Result<Report> {
    let folder = Folder::new()?;
    let (apps, data) = (folder.path().join("apps"), folder.path().join("data"));
    let outside = Arc::new(Outside::start().await?);
    write_app(&apps, outside.address()).context("cannot write the app")?;
    fs::create_dir_all(&data)?;
    let key = make_key(&apps, &data, APP).await?;
    let server = Arc::new(Server::start(&apps, &data).await?);
    let load = Load::start(Arc::clone(&server), key, plan.clients);
    if plan.poison {
        load.create_poison().await?;
    }
    let mut random = Random(plan.seed);
    let mut poisoned = 0;
    for _ in 0..plan.kills {
        let kill_at = Instant::now() + random.between(&plan.every);
        // Kills by the poison run are additional, one whenever it is executed.
        while timeout_at(kill_at, outside.poisoned()).await.is_ok() {
            poisoned += 1;
            server.kill().await?;
        }
        server.kill().await?;
    }
    load.stop();
    let mut last_kill = Instant::now();
    let mut give_up = last_kill + plan.patience;
    let settled = load.settled();
    tokio::pin!(settled);
    loop {
        tokio::select! {
            () = &mut settled => break,
            () = outside.poisoned() => {
                poisoned += 1;
                server.kill().await?;
                last_kill = Instant::now();
                give_up = last_kill + plan.patience;
            }
            () = sleep(give_up.saturating_duration_since(Instant::now())) => break,
        }
    }
    let report = Report::of(&load, &outside, plan.kills, poisoned, last_kill).await?;
    server.end().await?;
    Ok(report)
}

/// Writes an app that calls the outside, waits, and calls it again, as its input specifies.
fn write_app(apps: &Path, outside: SocketAddr) -> Result<()> {
    let folder = apps.join(APP);
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("app.yaml"),
        format!(
            "id: 5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e00c0\n\
             project: 5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e00c1\n\
             organization: 5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e00c2\n\
             name: {APP}\nworkflow: {{file: workflow.yaml}}\nallow_hosts: [127.0.0.1]\n\
             limits: {{concurrent_runs: 1024, run_seconds: 900}}\n"
        ),
    )?;
    fs::write(
        folder.join("workflow.yaml"),
        format!(
            "connections:\n  outside: {{type: dynamiq.connections.Http, method: GET, url: \"http://{outside}/call\"}}\n\
             nodes:\n  \
             one: {{type: dynamiq.nodes.tools.HttpApiCall, connection: outside, timeout: 600, \
             input_transformer: {{selector: {{params: $.one_params}}}}}}\n  \
             wait: {{type: dynamiq.nodes.operators.Delay, depends: [{{node: one}}], \
             input_transformer: {{selector: {{duration_seconds: $.pause}}}}}}\n  \
             two: {{type: dynamiq.nodes.tools.HttpApiCall, connection: outside, timeout: 600, depends: [{{node: wait}}], \
             input_transformer: {{selector: {{params: $.two_params}}}}}}\n\
             flows: {{f: {{nodes: [one, wait, two]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
        ),
    )?;
    Ok(())
}

/// A seeded random number generator: `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let micros = range.end().saturating_sub(*range.start()).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX).saturating_add(1);
        *range.start() + Duration::from_micros(self.next() % micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_depend_on_the_seed_and_lie_in_the_range() {
        let range = Duration::from_millis(200)..=Duration::from_secs(2);
        let durations = |seed| {
            let mut random = Random(seed);
            (0..1_000).map(|_| random.between(&range)).collect::<Vec<_>>()
        };
        assert!(durations(1).iter().all(|duration| range.contains(duration)));
        assert_eq!(durations(1), durations(1));
        assert_ne!(durations(1), durations(2));
        let mean = durations(3).iter().sum::<Duration>() / 1_000;
        assert!(mean > Duration::from_secs(1) && mean < Duration::from_millis(1_200), "{mean:?}");
    }
}
