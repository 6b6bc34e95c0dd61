//! `runyard chaos`, briefly.

use crate::harness::{Done, Home};
use std::time::Duration;

/// The poison run fails once it has killed the server five times, three of them while it was executed apart. No other
/// run fails.
#[tokio::test]
async fn kills_lose_no_run_and_only_the_poison_run_fails() {
    let home = Home::new();
    let arguments = ["chaos", "--kills", "4", "--every", "0.3..1", "--clients", "4", "--poison", "--json"];
    let output = tokio::time::timeout(Duration::from_mins(10), home.command(&arguments).output()).await;
    let done = Done::from(output.expect("it ends").unwrap());
    let figures = done.json();
    assert_eq!(done.code, 0, "{figures}: {}", done.err);
    assert_eq!(figures["poison"], "worker_lost", "{figures}");
    // One or two of the other kills may have hit the poison run.
    let poison_kills = figures["poison_kills"].as_u64().unwrap();
    assert!((3..=5).contains(&poison_kills), "{figures}");
    for figure in ["lost", "stuck", "doubled", "problems"] {
        assert_eq!(figures[figure], 0, "{figures}");
    }
    assert!(figures["accepted"].as_u64().unwrap() > 0, "{figures}");
}
