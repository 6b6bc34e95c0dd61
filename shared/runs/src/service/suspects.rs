//! Which runs may be executed at the same time after workers were lost: rule 18.
//!
//! When a process dies, all its runs lose their worker, although at most one of them caused it. A run that has lost two
//! workers is a *suspect*: suspects are executed one at a time, apart from every other run that has lost a worker, and
//! only once the process has lived for a while without them. If the process dies then, the suspect is taken for the
//! cause; if it dies earlier, the suspects are not.

use crate::{
    LogState, RunId,
    protocol::{LOST_ONE, SUSPECT},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Minimum probation of a run that has lost workers. After it, a suspect gives its place to the next: after a crash
/// there may be many suspects, and at most one of them caused it.
const MIN_PROBATION: Duration = Duration::from_millis(250);

/// The epoch from which on each claim doubles the probation, so that a run that takes long to kill its worker does not
/// survive every probation.
const DOUBLES_AFTER: u32 = 3;

/// Maximum probation of a run that has been executed for a short time.
const MAX_PROBATION: Duration = Duration::from_secs(10);

/// Maximum probation of a run that has been executed for longer: its executed time divided by this.
const MAX_PROBATION_DIVISOR: u32 = 4;

/// How long a waiting run is delayed before it is delivered again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Additional delay for each other waiting run, so that all of them are delivered at most about 250 times per second.
const RETRY_DELAY_PER_RUN: Duration = Duration::from_millis(4);

/// The runs of this process that have lost workers.
pub(crate) struct Suspects {
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How long the process must live before it executes a suspect; doubled for each worker that the suspect loses
    /// after that.
    settles_in: Duration,
    /// Whether a suspect is on probation.
    alone: bool,
    /// How many runs that have lost one worker are on probation.
    lost_one: usize,
    /// The runs that wait, and when each is delivered again.
    waiting: HashMap<RunId, Instant>,
}

/// Whether a run may be executed now.
pub(crate) enum Admission {
    /// It may; it keeps the place while it is on probation.
    Go(Option<ProbationPlace>),
    /// It must wait, and be enqueued again with this delay.
    Wait(Duration),
    /// It already waits: another message of it is enqueued.
    Waits,
}

impl Suspects {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), state: Mutex::default() }
    }

    /// Makes suspects wait until the process has lived for `time`.
    pub(crate) fn settle_in(&self, time: Duration) {
        self.lock().settles_in = time;
    }

    /// Decides whether a run with these `attempts` may be executed now.
    pub(crate) fn admit(self: &Arc<Self>, run: RunId, attempts: u32) -> Admission {
        if attempts < LOST_ONE {
            return Admission::Go(None);
        }
        let now = Instant::now();
        let is_suspect = attempts >= SUSPECT;
        let mut state = self.lock();
        let settled =
            self.since + state.settles_in.saturating_mul(1 << (attempts.max(SUSPECT) - SUSPECT).min(8));
        let wait = if is_suspect && settled > now {
            settled - now
        } else if state.alone || (is_suspect && state.lost_one > 0) {
            RETRY_DELAY
                + RETRY_DELAY_PER_RUN.saturating_mul(u32::try_from(state.waiting.len()).unwrap_or(u32::MAX))
        } else {
            state.waiting.remove(&run);
            if is_suspect {
                state.alone = true;
            } else {
                state.lost_one += 1;
            }
            return Admission::Go(Some(ProbationPlace { suspects: Arc::clone(self), is_alone: is_suspect }));
        };
        // A second message of the same run would be enqueued again and again in addition to the first.
        if state.waiting.get(&run).is_some_and(|at| *at > now) {
            return Admission::Waits;
        }
        state.waiting.insert(run, now + wait);
        Admission::Wait(wait)
    }

    /// Removes a run that will not be executed any more.
    pub(crate) fn forget(&self, run: RunId) {
        let mut state = self.lock();
        if !state.waiting.is_empty() {
            state.waiting.remove(&run);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a run on probation, until this is dropped.
pub(crate) struct ProbationPlace {
    suspects: Arc<Suspects>,
    is_alone: bool,
}

impl ProbationPlace {
    /// Whether it is the place of a suspect.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }
}

impl Drop for ProbationPlace {
    fn drop(&mut self) {
        let mut state = self.suspects.lock();
        if self.is_alone {
            state.alone = false;
        } else {
            state.lost_one -= 1;
        }
    }
}

/// Returns the probation of a run in this state.
pub(crate) fn probation(state: &LogState, now: crate::Timestamp) -> Duration {
    let before = Duration::from_millis(state.active_ms.unsigned_abs());
    let executed = before + state.since.map_or(Duration::ZERO, |since| now.since(since));
    let doubled = state.epoch.saturating_sub(DOUBLES_AFTER).min(16);
    MIN_PROBATION.saturating_mul(1 << doubled).min(MAX_PROBATION.max(executed / MAX_PROBATION_DIVISOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn run(number: u128) -> RunId {
        RunId(Uuid::from_u128(number))
    }

    fn place(admission: Admission) -> Option<ProbationPlace> {
        match admission {
            Admission::Go(place) => place,
            Admission::Wait(time) => panic!("the run must wait for {time:?}"),
            Admission::Waits => panic!("the run already waits"),
        }
    }

    fn wait(admission: &Admission) -> Duration {
        match admission {
            Admission::Wait(time) => *time,
            Admission::Go(_) => panic!("the run may be executed"),
            Admission::Waits => panic!("the run already waits"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_executed_apart_from_runs_that_lost_a_worker() {
        let suspects = Arc::new(Suspects::new());
        assert!(place(suspects.admit(run(1), 0)).is_none(), "nothing is known about it");
        assert!(place(suspects.admit(run(2), LOST_ONE - 1)).is_none(), "it has lost no worker");
        let one = place(suspects.admit(run(3), LOST_ONE)).expect("a place");
        let two = place(suspects.admit(run(4), LOST_ONE)).expect("several are allowed");
        wait(&suspects.admit(run(5), SUSPECT));
        drop((one, two));
        let alone = place(suspects.admit(run(5), SUSPECT)).expect("a place");
        assert!(alone.is_alone());
        wait(&suspects.admit(run(6), SUSPECT + 1));
        wait(&suspects.admit(run(3), LOST_ONE));
        assert!(place(suspects.admit(run(1), 0)).is_none(), "new work continues");
        drop(alone);
        assert!(place(suspects.admit(run(6), SUSPECT + 1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_settles_before_it_executes_a_suspect() {
        let suspects = Arc::new(Suspects::new());
        suspects.settle_in(Duration::from_secs(5));
        assert!(place(suspects.admit(run(1), LOST_ONE)).is_some(), "it is resumed at once");
        assert_eq!(wait(&suspects.admit(run(2), SUSPECT)), Duration::from_secs(5));
        assert_eq!(wait(&suspects.admit(run(3), SUSPECT + 2)), Duration::from_secs(20));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(place(suspects.admit(run(2), SUSPECT)).is_some());
        assert!(matches!(suspects.admit(run(3), SUSPECT + 2), Admission::Waits), "it already waits");
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(place(suspects.admit(run(3), SUSPECT + 2)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn many_waiting_runs_are_delivered_less_often() {
        let suspects = Arc::new(Suspects::new());
        let place = place(suspects.admit(run(0), SUSPECT));
        let waits: Vec<_> = (1..=1_000).map(|number| wait(&suspects.admit(run(number), SUSPECT))).collect();
        assert_eq!(waits[0], RETRY_DELAY);
        assert!(waits.is_sorted() && waits[999] >= Duration::from_secs(4), "{:?}", waits[999]);
        drop(place);
        tokio::time::advance(Duration::from_secs(5)).await;
        for number in 1..=1_000 {
            assert!(matches!(suspects.admit(run(number), SUSPECT), Admission::Go(Some(_))));
        }
        assert!(suspects.lock().waiting.is_empty());
    }

    #[test]
    fn probation_grows_with_each_claim() {
        let at = |seconds: i64| crate::Timestamp(seconds * 1_000);
        let mut state = LogState { since: Some(at(100)), epoch: 2, ..LogState::default() };
        assert_eq!(probation(&state, at(500)), MIN_PROBATION);
        state.epoch = 3;
        assert_eq!(probation(&state, at(500)), MIN_PROBATION);
        state.epoch = 6;
        assert_eq!(probation(&state, at(101)), MIN_PROBATION * 8);
        state.epoch = 1_000;
        assert_eq!(probation(&state, at(101)), MAX_PROBATION);
        assert_eq!(probation(&state, at(500)), Duration::from_secs(100));
        state.active_ms = 400_000;
        assert_eq!(probation(&state, at(500)), Duration::from_secs(200));
    }
}
