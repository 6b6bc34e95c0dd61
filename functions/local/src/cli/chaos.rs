//! `runyard chaos`: kill a server again and again.

use crate::{
    chaos::{self, Plan},
    exit::Exit,
};
use anyhow::Result;
use clap::Args;
use std::{ops::RangeInclusive, time::Duration};

const ABOUT: &str = "Kill a server again and again, and check that no run is lost.

Starts a server (this executable as `serve`, on a temporary data directory and a free port) and puts it under load:
sync and background runs with idempotency keys, calls to a service that counts them, Delays, calls that take seconds.
During the load the server is killed with SIGKILL at random times and started again. In the end every accepted run must
have completed (none lost, none stuck), and none may have been executed twice (none doubled: no second run for a key, no
repeated call whose result was recorded, no more calls than workers had the run).

With --poison, one run kills the server whenever it is executed; it must be the only one that fails.

  within ms    how long callers of sync runs that no kill interrupted waited, minus the time the run itself takes
  settled s    time from the last kill to the end of the last run";

const EXAMPLES: &str = "Examples:
  runyard chaos
  runyard chaos --kills 25 --every 0.2..1 --poison --json";

#[derive(Args, Debug)]
#[command(about = "Kill a server again and again, and check that no run is lost", long_about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct ChaosArgs {
    /// Number of kills, without those by the poison run
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Seconds between two kills, chosen at random
    #[arg(long, value_name = "MIN..MAX", default_value = "0.2..2", value_parser = range)]
    every: RangeInclusive<Duration>,
    /// Seed of the random times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of clients that create runs at the same time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// One run kills the server whenever it is executed
    #[arg(long)]
    poison: bool,
    /// Seconds that runs may take to end after the last kill
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    patience: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

fn range(argument: &str) -> Result<RangeInclusive<Duration>, String> {
    let seconds =
        |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match argument.split_once("..").map(|(min, max)| (seconds(min), seconds(max))) {
        Some((Some(min), Some(max))) if min <= max => Ok(min..=max),
        _ => Err("must be MIN..MAX in seconds, like 0.2..2".to_owned()),
    }
}

pub(super) async fn chaos(args: ChaosArgs) -> Result<Exit> {
    let plan = Plan {
        kills: args.kills,
        every: args.every,
        seed: args.seed,
        clients: args.clients.into(),
        poison: args.poison,
        patience: Duration::from_secs(args.patience),
    };
    let report = chaos::run(&plan).await?;
    report.print(args.json)?;
    Ok(if report.is_good(plan.poison) { Exit::Done } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_seconds_is_parsed() {
        assert_eq!(range("0.2..2"), Ok(Duration::from_millis(200)..=Duration::from_secs(2)));
        for invalid in ["2", "2..1", "-1..2", "a..b", "..", "1..inf"] {
            assert!(range(invalid).is_err(), "{invalid}");
        }
    }
}
