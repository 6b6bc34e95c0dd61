//! Executing a run: the engine, its journal, the lease and the clock, in one task.

use super::{
    Ports,
    drive::{Patience, Target},
    live::Live,
    measure,
    retry::{has_kept, kept},
    suspects::{Place, probation},
};
use crate::{
    App, EventBody, LogRead, Logged, NewRun, Outcome, RequestId, RunError, RunId, StoreError, Timestamp,
    engine::{Room, Shared, Taken},
    protocol::{Ender, LOST_ONE, Op, RENEWAL, Reply, Stop, Writer, expired},
    room::RunMemory,
};
use futures::{FutureExt, future::BoxFuture};
use std::{future::pending, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// What an execution that calls nothing outside may take before it is claimed, and between two entries.
const GATHER: Duration = Duration::from_millis(100);

/// What lies at least between two entries of an execution, so that a cancel gets in.
const BREATH: Duration = Duration::from_millis(20);

/// How often an execution looks whether others wrote.
const LOOK: Duration = Duration::from_secs(1);

/// One execution of one run.
pub(crate) struct Execution {
    pub(crate) ports: Ports,
    pub(crate) app: Arc<App>,
    pub(crate) new: Arc<NewRun>,
    pub(crate) writer: Writer,
    pub(crate) live: Arc<Live>,
    /// Whether a client waits for the first event.
    pub(crate) followed: bool,
    /// Cancelled when this process hands its runs over.
    pub(crate) handing_over: CancellationToken,
    /// When the platform's time for this execution ends: it hands over then too.
    pub(crate) until: Option<Timestamp>,
    /// What the run takes of the process's memory.
    pub(crate) memory: RunMemory,
    /// Of a run that has lost workers, while it is on probation.
    pub(crate) place: Option<Place>,
    /// How far away a moment is for which the run is left without a process.
    pub(crate) rests_from: Duration,
}

enum Next {
    Over,
    StartOver,
}

impl Execution {
    /// Executes the run until the writer stops. What came of it stands in the log.
    pub(crate) async fn run(mut self) -> Result<Writer, StoreError> {
        self.settle().await?;
        let mut journal = self.writer.take_absorbed();
        while self.writer.is_open() {
            if let Some(before) = self.new.retry_of
                && !has_kept(&journal)
            {
                journal.extend(self.keep(before).await?);
                if !self.writer.is_open() {
                    break;
                }
            }
            if self.writer.claims_first() && !self.writer.is_claimed() {
                self.writer.flush(true);
                self.settle().await?;
                journal.extend(self.writer.take_absorbed());
                continue;
            }
            match self.attempt(&journal).await? {
                Next::Over => break,
                Next::StartOver => journal = self.reread().await?,
            }
        }
        if let Some(Stop::Condemned { body, rev }) = self.writer.stopped() {
            let claim = crate::ClaimId(self.ports.ids.random());
            let mut ender = Ender::at_rev(self.new.id, claim, EventBody::clone(body), *rev);
            let ended = self.ports.drive(self.target(), &mut ender).await?;
            measure::ended_by(self.new.app, self.new.id, &ended);
        }
        Ok(self.writer)
    }

    fn target(&self) -> Target<'_> {
        Target { app: self.new.app, run: self.new.id, new: None }
    }

    /// Does what the writer wants until it wants nothing.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let mut patience = Patience::default();
        while let Some(op) = self.writer.next(self.ports.clock.now()) {
            let reply = patience.judge(self.ports.perform(self.target(), &op).await).await?;
            self.writer.reply(reply, self.ports.clock.now());
            show(&self.live, &self.new, &mut self.writer);
        }
        Ok(())
    }

    /// Has the next entry begin with what the run keeps of the one that it retries.
    async fn keep(&mut self, before: RunId) -> Result<Vec<Logged>, StoreError> {
        let log = self.read(before).await?.filter(|log| log.app == self.new.app);
        let Some(log) = log else {
            // Begun from nothing it would pay for everything again.
            let error = RunError::new("retry_lost", "the run that this one retries is gone");
            self.writer.end(EventBody::RunFailed { error });
            self.settle().await?;
            return Ok(Vec::new());
        };
        let kept = kept(events_of(log));
        self.writer.push(kept.iter().cloned(), self.writer.state().usage.clone());
        if self.writer.is_claimed() {
            // Else the claim takes it along. No call outside before it is written.
            self.writer.flush(false);
            self.settle().await?;
        }
        Ok(kept)
    }

    /// Writes what is left and reads the whole log again: rare, so no copy is kept for it.
    async fn reread(&mut self) -> Result<Vec<Logged>, StoreError> {
        self.writer.flush(false);
        self.settle().await?;
        self.writer.take_absorbed();
        Ok(self.read(self.new.id).await?.map(events_of).unwrap_or_default())
    }

    /// The whole log of a run; nothing if there is none.
    async fn read(&self, run: RunId) -> Result<Option<LogRead>, StoreError> {
        let mut patience = Patience::default();
        let target = Target { run, ..self.target() };
        loop {
            match patience.judge(self.ports.perform(target, &Op::Read { from: 1 }).await).await? {
                Reply::Log(log) => return Ok(Some(log)),
                Reply::NoRun => return Ok(None),
                _ => {}
            }
        }
    }

    /// Executes the engine once, writing as it goes.
    async fn attempt(&mut self, journal: &[Logged]) -> Result<Next, StoreError> {
        let (ports, new, live) = (&self.ports, &self.new, &self.live);
        let target = Target { app: new.app, run: new.id, new: None };
        let writer = &mut self.writer;
        // This is the start over; left standing, it would throw away the first call in flight.
        writer.take_restart();
        let shared = share(ports, new, journal, writer, Room::new(&self.app, journal, &self.memory));
        // A panic of a node must not take the server along.
        let execution =
            AssertUnwindSafe(ports.engine.execute(&self.app, shared.context(self.rests_from))).catch_unwind();
        let mut engine = Some(Box::pin(execution));
        let mut flight: Option<BoxFuture<'_, (Result<Reply, StoreError>, Patience)>> = None;
        let mut patience = Patience::default();
        let mut pace = Pace::new(self.followed, Instant::now());
        // What the run keeps of the one that it retries is written first, and is not the engine's.
        let written_before = writer.acknowledged() + writer.waiting();
        let mut answered = false;
        let mut expiring: Vec<RequestId> = Vec::new();
        let mut handing_over = false;
        let mut leave = pin!(leave(&self.handing_over, self.until.map(|at| at.since(ports.clock.now()))));
        loop {
            if engine.is_some() && !writer.is_open() {
                // The lease is lost: nothing more is begun, what is done is offered to the log.
                engine = None;
                writer.push_all(shared.take());
            }
            if engine.is_some() && shared.is_full() {
                engine = None;
                fail(writer, &shared, too_long(&self.app));
            } else if engine.is_some() {
                // What waits for them is to be told.
                answered |= expire(writer, &shared, &mut expiring, ports.clock.now());
            }
            if flight.is_none() {
                let now = Instant::now();
                let (waiting, urgent) = shared.waiting();
                if pace.flush_at(waiting, urgent, writer.is_claimed()).is_some_and(|at| at <= now) {
                    writer.push_all(shared.take());
                    writer.flush(true);
                    pace.flushed(urgent, now);
                }
                pace.want_of(writer, now);
                pace.clear_suspect(writer, &mut self.place, now, ports.clock.now());
                if let Some(op) = writer.next(ports.clock.now()) {
                    flight = Some(Box::pin(async move {
                        let result = patience.judge(ports.perform(target, &op).await).await;
                        (result, patience)
                    }));
                }
            }
            if writer.stopped().is_some() {
                shared.stop();
                return Ok(Next::Over);
            }
            // The engine has its turn below. If it says nothing in it, the claim is due all the same.
            pace.polled = true;
            let deadline = engine.as_ref().and_then(|_| deadline(writer, &self.app, ports.clock.now()));
            let expiry = engine.as_ref().and_then(|_| expiry(writer, &expiring, ports.clock.now()));
            let mut wake_at = deadline.into_iter().chain(expiry).min();
            if flight.is_none() {
                let (waiting, urgent) = shared.waiting();
                wake_at = pace.next(waiting && engine.is_some(), urgent, writer.is_claimed(), wake_at);
            }
            tokio::select! {
                biased;
                outcome = poll_some(&mut engine) => {
                    engine = None;
                    writer.push_all(shared.take());
                    match conclude(outcome) {
                        Conclusion::Ends(body) => writer.end(body),
                        // Decided on a log that has grown since.
                        _ if answered => return Ok(Next::StartOver),
                        Conclusion::Waits => writer.pause(),
                        // Its time goes on meanwhile.
                        Conclusion::Rests(until) => rest(writer, &self.app, until, ports.clock.now()),
                    }
                }
                (result, judge) = poll_some(&mut flight) => {
                    flight = None;
                    patience = judge;
                    writer.reply(result?, ports.clock.now());
                    show(live, new, writer);
                    let absorbed = writer.take_absorbed();
                    answered |= absorbed.iter().any(|logged| matches!(logged.body, EventBody::InputReceived { .. }));
                    shared.absorb(&absorbed);
                    shared.wrote(writer.acknowledged().saturating_sub(written_before), writer.is_claimed());
                    if writer.take_restart() {
                        shared.stop();
                        return Ok(Next::StartOver);
                    }
                }
                () = shared.wake.notified() => {}
                () = live.nudge.notified() => writer.look(),
                () = &mut leave, if !handing_over => {
                    handing_over = true;
                    engine = None;
                    writer.push_all(shared.take());
                    give_back(writer, &self.handing_over);
                }
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {
                    if deadline.is_some_and(|at| at <= Instant::now()) && engine.take().is_some() {
                        fail(writer, &shared, timed_out(&self.app));
                    }
                }
            }
        }
    }
}

/// Ends the run, with what the engine has said by now.
fn fail(writer: &mut Writer, shared: &Shared, error: RunError) {
    writer.push_all(shared.take());
    writer.end(EventBody::RunFailed { error });
}

fn events_of(log: LogRead) -> Vec<Logged> {
    log.entries.into_iter().flat_map(|entry| entry.events).collect()
}

/// What the engine and this execution share, from what the log has.
fn share(ports: &Ports, new: &Arc<NewRun>, journal: &[Logged], writer: &Writer, room: Room) -> Arc<Shared> {
    let (files, clock) = (Arc::clone(&ports.files), Arc::clone(&ports.clock));
    let usage = writer.state().usage.clone();
    Shared::new(Arc::clone(new), files, clock, journal, usage, writer.is_claimed(), room)
}

/// Has the log told of requests that have expired and are not `told` of yet; gives whether there are any.
fn expire(writer: &mut Writer, shared: &Shared, told: &mut Vec<RequestId>, now: Timestamp) -> bool {
    let news: Vec<_> = writer.state().expired(now).filter(|request| !told.contains(request)).collect();
    if news.is_empty() {
        return false;
    }
    let Taken { events, usage } = shared.take();
    writer.push(events.into_iter().chain(news.iter().copied().map(expired)), usage);
    writer.flush(true);
    told.extend(news);
    true
}

/// Shows what is on disk to who follows the run, and to who counts.
fn show(live: &Live, new: &NewRun, writer: &mut Writer) {
    let written = writer.take_written();
    measure::written(new, writer.claim(), &written);
    live.publish(written);
}

/// Leaves the run until then, at most until its time is over.
fn rest(writer: &mut Writer, app: &App, until: Timestamp, now: Timestamp) {
    match writer.state().deadline(app.longest_run()) {
        Some(deadline) if deadline <= now => writer.end(EventBody::RunFailed { error: timed_out(app) }),
        deadline => writer.rest(deadline.map_or(until, |deadline| deadline.min(until))),
    }
}

/// Gives the run back, which counts against it if it is not the whole process that ends.
fn give_back(writer: &mut Writer, process: &CancellationToken) {
    if process.is_cancelled() {
        writer.leave();
    } else {
        writer.hand_over();
    }
}

/// Returns when an execution is to hand over: the process does, or the execution's own time is over.
async fn leave(process: &CancellationToken, after: Option<Duration>) {
    match after {
        Some(after) => drop(tokio::time::timeout(after, process.cancelled()).await),
        None => process.cancelled().await,
    }
}

/// Waits for a future that may not be there; for ever if it is not.
async fn poll_some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// What is to become of the run.
#[expect(clippy::large_enum_variant, reason = "it is consumed at once")]
enum Conclusion {
    /// It ends with this event.
    Ends(EventBody),
    /// It pauses.
    Waits,
    /// It is left alone until then.
    Rests(Timestamp),
}

fn conclude(outcome: Result<Outcome, Box<dyn std::any::Any + Send>>) -> Conclusion {
    Conclusion::Ends(match outcome {
        Ok(Outcome::Completed(output)) => EventBody::RunCompleted { output },
        Ok(Outcome::Failed(error)) => EventBody::RunFailed { error },
        Ok(Outcome::Suspended) => return Conclusion::Waits,
        Ok(Outcome::Resting(until)) => return Conclusion::Rests(until),
        Err(panic) => {
            let cause = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            tracing::error!(cause, "the engine panicked");
            let error =
                RunError::new("internal_error", "a node stopped unexpectedly; the server's log says why");
            EventBody::RunFailed { error }
        }
    })
}

fn timed_out(app: &App) -> RunError {
    RunError::new(
        "timeout",
        format!(
            "the run took longer than the {} s that its app allows (limits.run_seconds)",
            app.limits.run_seconds
        ),
    )
}

fn too_long(app: &App) -> RunError {
    let most = app.limits.run_bytes;
    let message =
        format!("the run's log has more than the {most} bytes that its app allows (limits.run_bytes)");
    RunError::new("limit_exceeded", message)
}

/// When what is to happen.
struct Pace {
    started: Instant,
    /// Whether a client waits for the first event.
    followed: bool,
    /// Whether the engine had its first turn: many runs end in it.
    polled: bool,
    last_entry: Option<Instant>,
    last_gathered: Option<Instant>,
    renew_at: Option<Instant>,
    look_at: Option<Instant>,
    /// When the run's probation ends.
    clear_at: Option<Instant>,
}

impl Pace {
    fn new(followed: bool, now: Instant) -> Self {
        Self {
            started: now,
            followed,
            polled: false,
            last_entry: None,
            last_gathered: None,
            renew_at: None,
            look_at: None,
            clear_at: None,
        }
    }

    /// When the next entry is to be written, if one is wanted.
    fn flush_at(&self, waiting: bool, urgent: bool, claimed: bool) -> Option<Instant> {
        if !self.polled {
            return None;
        }
        if !claimed {
            return Some(if urgent || self.followed { self.started } else { self.started + GATHER });
        }
        let breath = self.last_entry.map_or(self.started, |at| at + BREATH);
        if urgent {
            return Some(breath);
        }
        waiting.then(|| self.last_gathered.map_or(breath, |at| breath.max(at + GATHER)))
    }

    fn flushed(&mut self, urgent: bool, now: Instant) {
        self.last_entry = Some(now);
        if !urgent {
            self.last_gathered = Some(now);
        }
    }

    /// Has the writer renew its lease and look for others in time.
    fn want_of(&mut self, writer: &mut Writer, now: Instant) {
        if !writer.is_claimed() {
            return;
        }
        let renew_at = self.renew_at.get_or_insert(now + RENEWAL);
        if *renew_at <= now {
            *renew_at = now + RENEWAL;
            writer.renew();
        }
        let look_at = self.look_at.get_or_insert(now + LOOK);
        if *look_at <= now {
            *look_at = now + LOOK;
            writer.look();
        }
    }

    /// Ends the probation of a run that has made progress or has lasted: its place is the next one's then.
    fn clear_suspect(
        &mut self,
        writer: &mut Writer,
        place: &mut Option<Place>,
        now: Instant,
        time: Timestamp,
    ) {
        let Some(held) = place else { return };
        if !writer.is_claimed() {
            return;
        }
        let clear_at = *self.clear_at.get_or_insert_with(|| now + probation(writer.state(), time));
        let has_lasted = clear_at <= now;
        if writer.attempts() < LOST_ONE || (has_lasted && (!held.is_alone() || writer.attempts() == LOST_ONE))
        {
            *place = None;
            self.clear_at = None;
        } else if has_lasted {
            // The record says so first: else the next one's doing would count against this run.
            writer.clear();
        }
    }

    /// When there is something to do next.
    fn next(&self, waiting: bool, urgent: bool, claimed: bool, deadline: Option<Instant>) -> Option<Instant> {
        let flush_at = self.flush_at(waiting, urgent, claimed);
        [flush_at, deadline, self.renew_at, self.look_at, self.clear_at].into_iter().flatten().min()
    }
}

/// When the next pending request expires that is not `expiring` already.
fn expiry(writer: &Writer, expiring: &[RequestId], now: Timestamp) -> Option<Instant> {
    let pending = writer.state().pending.iter().filter(|pending| !expiring.contains(&pending.request));
    let next = pending.filter_map(|pending| pending.expires_at).min()?;
    Some(Instant::now() + next.since(now))
}

/// When the run will have taken as long as its app allows.
fn deadline(writer: &Writer, app: &App, now: Timestamp) -> Option<Instant> {
    let deadline = writer.state().deadline(app.longest_run())?;
    Some(Instant::now() + deadline.since(now))
}
