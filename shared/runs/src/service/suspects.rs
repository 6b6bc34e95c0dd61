//! Who may be executed beside whom, once workers were lost: rule 18.
//!
//! A process dies with everything that it executes, so its death accuses many runs of which one may be guilty. A run that
//! has lost two workers is a *suspect*: suspects are executed one at a time, apart from everything else that has lost a
//! worker, and not before the process has lived for a while without them. A process that dies then has died of the
//! suspect; one that dies earlier has died of something else, and accuses nobody.

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

/// What a run has to outlive that has lost two workers, or fewer. A suspect then gives its place to the next: after a crash
/// there may be many, and all but one of them are innocent.
const PROBATION: Duration = Duration::from_millis(250);

/// The claim from which on probation takes twice as long each time: whatever takes long to kill a worker does not outlive
/// its probation for ever.
const DOUBLES_AFTER: u32 = 3;

/// It does not take longer than this,
const LONGEST: Duration = Duration::from_secs(10);

/// or this part of the time for which the run has been executed so far.
const PART_OF_ITS_TIME: u32 = 4;

/// How soon a run that has to wait is looked at again,
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// and for how much longer for each other that waits: so that they are looked at some 250 times a second, however many.
const LONGER_FOR_EACH: Duration = Duration::from_millis(4);

/// The runs of this process that have lost workers.
pub(crate) struct Suspects {
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// For how long the process has to live before it executes a suspect; doubled with each worker lost after that.
    settles_in: Duration,
    /// Whether a suspect is executed.
    alone: bool,
    /// How many runs are executed, and on probation, that have lost one worker.
    lost_one: usize,
    /// The runs that wait, and when each is looked at again.
    waiting: HashMap<RunId, Instant>,
}

/// Whether a run may be executed now.
pub(crate) enum Admission {
    /// It may; it keeps the place while it is on probation.
    Go(Option<Place>),
    /// It comes again after this time.
    Wait(Duration),
    /// It waits already, and comes again by itself.
    Waits,
}

impl Suspects {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), state: Mutex::default() }
    }

    /// Has a suspect wait until the process has lived for `time`.
    pub(crate) fn settle_in(&self, time: Duration) {
        self.lock().settles_in = time;
    }

    /// Whether a run with this many `attempts` may be executed now.
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
            LOOK_AGAIN
                + LONGER_FOR_EACH.saturating_mul(u32::try_from(state.waiting.len()).unwrap_or(u32::MAX))
        } else {
            state.waiting.remove(&run);
            if is_suspect {
                state.alone = true;
            } else {
                state.lost_one += 1;
            }
            return Admission::Go(Some(Place { suspects: Arc::clone(self), is_alone: is_suspect }));
        };
        // A second message of the same run would be asked again and again beside the first.
        if state.waiting.get(&run).is_some_and(|at| *at > now) {
            return Admission::Waits;
        }
        state.waiting.insert(run, now + wait);
        Admission::Wait(wait)
    }

    /// The run does not come again.
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

/// The place of a run that has lost workers, until this is dropped.
pub(crate) struct Place {
    suspects: Arc<Suspects>,
    is_alone: bool,
}

impl Place {
    /// Whether it is a suspect's.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.suspects.lock();
        if self.is_alone {
            state.alone = false;
        } else {
            state.lost_one -= 1;
        }
    }
}

/// How long a run is on probation that stands so when it begins.
pub(crate) fn probation(state: &LogState, now: crate::Timestamp) -> Duration {
    let before = Duration::from_millis(state.active_ms.unsigned_abs());
    let executed = before + state.since.map_or(Duration::ZERO, |since| now.since(since));
    let doubled = state.epoch.saturating_sub(DOUBLES_AFTER).min(16);
    PROBATION.saturating_mul(1 << doubled).min(LONGEST.max(executed / PART_OF_ITS_TIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn run(number: u128) -> RunId {
        RunId(Uuid::from_u128(number))
    }

    fn place(admission: Admission) -> Option<Place> {
        match admission {
            Admission::Go(place) => place,
            Admission::Wait(time) => panic!("it waits for {time:?}"),
            Admission::Waits => panic!("it waits"),
        }
    }

    fn wait(admission: &Admission) -> Duration {
        match admission {
            Admission::Wait(time) => *time,
            Admission::Go(_) => panic!("it may be executed"),
            Admission::Waits => panic!("it waits already"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_alone_among_those_that_lost_a_worker() {
        let suspects = Arc::new(Suspects::new());
        assert!(place(suspects.admit(run(1), 0)).is_none(), "nobody knows anything of it");
        assert!(place(suspects.admit(run(2), LOST_ONE - 1)).is_none(), "it lost nobody");
        let one = place(suspects.admit(run(3), LOST_ONE)).expect("a place");
        let two = place(suspects.admit(run(4), LOST_ONE)).expect("they may be several");
        wait(&suspects.admit(run(5), SUSPECT));
        drop((one, two));
        let alone = place(suspects.admit(run(5), SUSPECT)).expect("a place");
        assert!(alone.is_alone());
        wait(&suspects.admit(run(6), SUSPECT + 1));
        wait(&suspects.admit(run(3), LOST_ONE));
        assert!(place(suspects.admit(run(1), 0)).is_none(), "new work goes on");
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
        assert!(matches!(suspects.admit(run(3), SUSPECT + 2), Admission::Waits), "it was told when");
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(place(suspects.admit(run(3), SUSPECT + 2)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_wait_are_looked_at_less_often() {
        let suspects = Arc::new(Suspects::new());
        let place = place(suspects.admit(run(0), SUSPECT));
        let waits: Vec<_> = (1..=1_000).map(|number| wait(&suspects.admit(run(number), SUSPECT))).collect();
        assert_eq!(waits[0], LOOK_AGAIN);
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
        assert_eq!(probation(&state, at(500)), PROBATION);
        state.epoch = 3;
        assert_eq!(probation(&state, at(500)), PROBATION);
        state.epoch = 6;
        assert_eq!(probation(&state, at(101)), PROBATION * 8);
        state.epoch = 1_000;
        assert_eq!(probation(&state, at(101)), LONGEST);
        assert_eq!(probation(&state, at(500)), Duration::from_secs(100));
        state.active_ms = 400_000;
        assert_eq!(probation(&state, at(500)), Duration::from_secs(200));
    }
}
