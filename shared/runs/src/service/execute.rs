//! Executes a run: drives the engine, its journal, the lease and the timers in one task.

use super::{
    Ports,
    drive::{Patience, Target},
    live::Live,
    measure,
    retry::{has_kept, kept},
    suspects::{ProbationPlace, probation},
};
use crate::{
    App, EventBody, LogRead, Logged, NewRun, Outcome, RequestId, RunError, RunId, StoreError, Timestamp,
    engine::{PendingEvents, Room, Shared},
    protocol::{Ender, LOST_ONE, Op, RENEWAL, Reply, Stop, Writer, expired},
    room::RunMemory,
};
use futures::{FutureExt, future::BoxFuture};
use std::{future::pending, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long events are gathered before the claim and between two entries, while the run does not call outside.
const GATHER_INTERVAL: Duration = Duration::from_millis(100);

/// Minimum interval between two entries of an execution, so that a cancel can be appended in between.
const MIN_ENTRY_INTERVAL: Duration = Duration::from_millis(20);

/// How often an execution reads the log for entries of others.
const READ_INTERVAL: Duration = Duration::from_secs(1);

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
    /// The memory that the run takes from the process's budget.
    pub(crate) memory: RunMemory,
    /// The place of a run that has lost workers, while it is on probation.
    pub(crate) place: Option<ProbationPlace>,
    /// Minimum duration of a rest.
    pub(crate) rests_from: Duration,
}

enum Next {
    Over,
    StartOver,
}

impl Execution {
    /// Executes the run until the writer stops. The result is in the log.
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

    /// Performs the writer's operations until it requests none.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let mut patience = Patience::default();
        while let Some(op) = self.writer.next(self.ports.clock.now()) {
            let reply = patience.judge(self.ports.perform(self.target(), &op).await).await?;
            self.writer.reply(reply, self.ports.clock.now());
            show(&self.live, &self.new, &mut self.writer);
        }
        Ok(())
    }

    /// Makes the next entry begin with what the run keeps of the run that it retries.
    async fn keep(&mut self, before: RunId) -> Result<Vec<Logged>, StoreError> {
        let log = self.read(before).await?.filter(|log| log.app == self.new.app);
        let Some(log) = log else {
            // Starting from nothing would pay for all steps again.
            let error = RunError::new("retry_lost", "the run that this one retries is gone");
            self.writer.end(EventBody::RunFailed { error });
            self.settle().await?;
            return Ok(Vec::new());
        };
        let kept = kept(events_of(log));
        self.writer.push(kept.iter().cloned(), self.writer.state().usage.clone());
        if self.writer.is_claimed() {
            // It must be written before any call outside. Without a claim so far, the claim's entry has it.
            self.writer.flush(false);
            self.settle().await?;
        }
        Ok(kept)
    }

    /// Writes pending events and reads the whole log again. This is rare, so no copy of the log is kept for it.
    async fn reread(&mut self) -> Result<Vec<Logged>, StoreError> {
        self.writer.flush(false);
        self.settle().await?;
        self.writer.take_absorbed();
        Ok(self.read(self.new.id).await?.map(events_of).unwrap_or_default())
    }

    /// Reads the whole log of a run; `None` if there is no such run.
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

    /// Executes the engine once, and writes its events while it runs.
    async fn attempt(&mut self, journal: &[Logged]) -> Result<Next, StoreError> {
        let (ports, new, live) = (&self.ports, &self.new, &self.live);
        let target = Target { app: new.app, run: new.id, new: None };
        let writer = &mut self.writer;
        // This attempt is the restart; a flag that is still set would discard its first operation in flight.
        writer.take_restart();
        let shared = share(ports, new, journal, writer, Room::new(&self.app, journal, &self.memory));
        // A panic in a node must not end the server.
        let execution =
            AssertUnwindSafe(ports.engine.execute(&self.app, shared.context(self.rests_from))).catch_unwind();
        let mut engine = Some(Box::pin(execution));
        let mut in_flight: Option<BoxFuture<'_, (Result<Reply, StoreError>, Patience)>> = None;
        let mut patience = Patience::default();
        let mut timers = Timers::new(self.followed, Instant::now());
        // Events that are kept of a retried run are written first, and do not count as the engine's.
        let written_before = writer.acknowledged() + writer.waiting();
        let mut answered = false;
        let mut expiring: Vec<RequestId> = Vec::new();
        let mut handing_over = false;
        let mut leave = pin!(leave(&self.handing_over, self.until.map(|at| at.since(ports.clock.now()))));
        loop {
            if engine.is_some() && !writer.is_open() {
                // The lease is lost: nothing new is begun, finished work is still offered to the log.
                engine = None;
                writer.push_all(shared.take());
            }
            if engine.is_some() && shared.is_full() {
                engine = None;
                fail(writer, &shared, too_long(&self.app));
            } else if engine.is_some() {
                // Nodes that wait for an expired answer must learn of it.
                answered |= expire(writer, &shared, &mut expiring, ports.clock.now());
            }
            if in_flight.is_none() {
                let now = Instant::now();
                let (waiting, urgent) = shared.waiting();
                if timers.flush_at(waiting, urgent, writer.is_claimed()).is_some_and(|at| at <= now) {
                    writer.push_all(shared.take());
                    writer.flush(true);
                    timers.flushed(urgent, now);
                }
                timers.renew_and_read(writer, now);
                timers.clear_suspect(writer, &mut self.place, now, ports.clock.now());
                if let Some(op) = writer.next(ports.clock.now()) {
                    in_flight = Some(Box::pin(async move {
                        let result = patience.judge(ports.perform(target, &op).await).await;
                        (result, patience)
                    }));
                }
            }
            if writer.stopped().is_some() {
                shared.stop();
                return Ok(Next::Over);
            }
            // The engine is polled below. Even if that yields no events, the claim is due.
            timers.polled = true;
            let deadline = engine.as_ref().and_then(|_| deadline(writer, &self.app, ports.clock.now()));
            let expiry = engine.as_ref().and_then(|_| expiry(writer, &expiring, ports.clock.now()));
            let mut wake_at = deadline.into_iter().chain(expiry).min();
            if in_flight.is_none() {
                let (waiting, urgent) = shared.waiting();
                wake_at = timers.next(waiting && engine.is_some(), urgent, writer.is_claimed(), wake_at);
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
                        // The run's time limit keeps running while it rests.
                        Conclusion::Rests(until) => rest(writer, &self.app, until, ports.clock.now()),
                    }
                }
                (result, judge) = poll_some(&mut in_flight) => {
                    in_flight = None;
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

/// Ends the run as failed, after the events that the engine has pushed so far.
fn fail(writer: &mut Writer, shared: &Shared, error: RunError) {
    writer.push_all(shared.take());
    writer.end(EventBody::RunFailed { error });
}

fn events_of(log: LogRead) -> Vec<Logged> {
    log.entries.into_iter().flat_map(|entry| entry.events).collect()
}

/// Returns the state that the engine and this execution share, starting from the log.
fn share(ports: &Ports, new: &Arc<NewRun>, journal: &[Logged], writer: &Writer, room: Room) -> Arc<Shared> {
    let (files, clock) = (Arc::clone(&ports.files), Arc::clone(&ports.clock));
    let usage = writer.state().usage.clone();
    Shared::new(Arc::clone(new), files, clock, journal, usage, writer.is_claimed(), room)
}

/// Writes the expiry of requests that have expired and are not in `recorded` yet. Returns whether there are any.
fn expire(writer: &mut Writer, shared: &Shared, recorded: &mut Vec<RequestId>, now: Timestamp) -> bool {
    let new: Vec<_> = writer.state().expired(now).filter(|request| !recorded.contains(request)).collect();
    if new.is_empty() {
        return false;
    }
    let PendingEvents { events, usage } = shared.take();
    writer.push(events.into_iter().chain(new.iter().copied().map(expired)), usage);
    writer.flush(true);
    recorded.extend(new);
    true
}

/// Passes entries that are on disk to the run's followers and to the metrics.
fn show(live: &Live, new: &NewRun, writer: &mut Writer) {
    let written = writer.take_written();
    measure::written(new, writer.claim(), &written);
    live.publish(written);
}

/// Lets the run rest until then, at most until its deadline.
fn rest(writer: &mut Writer, app: &App, until: Timestamp, now: Timestamp) {
    match writer.state().deadline(app.longest_run()) {
        Some(deadline) if deadline <= now => writer.end(EventBody::RunFailed { error: timed_out(app) }),
        deadline => writer.rest(deadline.map_or(until, |deadline| deadline.min(until))),
    }
}

/// Gives the run back to the queue. This counts against it, unless the whole process ends.
fn give_back(writer: &mut Writer, process: &CancellationToken) {
    if process.is_cancelled() {
        writer.leave();
    } else {
        writer.hand_over();
    }
}

/// Returns when an execution must hand over: the process ends, or the time of this execution is over.
async fn leave(process: &CancellationToken, after: Option<Duration>) {
    match after {
        Some(after) => drop(tokio::time::timeout(after, process.cancelled()).await),
        None => process.cancelled().await,
    }
}

/// Waits for an optional future; forever if there is none.
async fn poll_some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// What happens to the run after the engine has returned.
#[expect(clippy::large_enum_variant, reason = "it is consumed at once")]
enum Conclusion {
    /// It ends with this event.
    Ends(EventBody),
    /// It pauses.
    Waits,
    /// It rests until then.
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
            let error = RunError::new("internal_error", "a node stopped unexpectedly: see the server's log");
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
    let max = app.limits.run_bytes;
    let message =
        format!("the run's log has more than the {max} bytes that its app allows (limits.run_bytes)");
    RunError::new("limit_exceeded", message)
}

/// The timers of an execution.
struct Timers {
    started: Instant,
    /// Whether a client waits for the first event.
    followed: bool,
    /// Whether the engine has been polled once: many runs end in that.
    polled: bool,
    last_entry: Option<Instant>,
    last_gathered: Option<Instant>,
    renew_at: Option<Instant>,
    read_at: Option<Instant>,
    /// When the run's probation ends.
    clear_at: Option<Instant>,
}

impl Timers {
    fn new(followed: bool, now: Instant) -> Self {
        Self {
            started: now,
            followed,
            polled: false,
            last_entry: None,
            last_gathered: None,
            renew_at: None,
            read_at: None,
            clear_at: None,
        }
    }

    /// Returns when the next entry is to be written, if any.
    fn flush_at(&self, waiting: bool, urgent: bool, claimed: bool) -> Option<Instant> {
        if !self.polled {
            return None;
        }
        if !claimed {
            return Some(if urgent || self.followed { self.started } else { self.started + GATHER_INTERVAL });
        }
        let earliest = self.last_entry.map_or(self.started, |at| at + MIN_ENTRY_INTERVAL);
        if urgent {
            return Some(earliest);
        }
        waiting.then(|| self.last_gathered.map_or(earliest, |at| earliest.max(at + GATHER_INTERVAL)))
    }

    fn flushed(&mut self, urgent: bool, now: Instant) {
        self.last_entry = Some(now);
        if !urgent {
            self.last_gathered = Some(now);
        }
    }

    /// Makes the writer renew its lease, and read entries of others, when due.
    fn renew_and_read(&mut self, writer: &mut Writer, now: Instant) {
        if !writer.is_claimed() {
            return;
        }
        let renew_at = self.renew_at.get_or_insert(now + RENEWAL);
        if *renew_at <= now {
            *renew_at = now + RENEWAL;
            writer.renew();
        }
        let read_at = self.read_at.get_or_insert(now + READ_INTERVAL);
        if *read_at <= now {
            *read_at = now + READ_INTERVAL;
            writer.look();
        }
    }

    /// Ends the probation of a run that has made progress or has survived it, and frees its place.
    fn clear_suspect(
        &mut self,
        writer: &mut Writer,
        place: &mut Option<ProbationPlace>,
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
            // The record is changed first: otherwise a crash that the next suspect causes would count against this run.
            writer.clear();
        }
    }

    /// Returns when the next timer fires.
    fn next(&self, waiting: bool, urgent: bool, claimed: bool, deadline: Option<Instant>) -> Option<Instant> {
        let flush_at = self.flush_at(waiting, urgent, claimed);
        [flush_at, deadline, self.renew_at, self.read_at, self.clear_at].into_iter().flatten().min()
    }
}

/// Returns when the next pending request expires that is not in `expiring`.
fn expiry(writer: &Writer, expiring: &[RequestId], now: Timestamp) -> Option<Instant> {
    let pending = writer.state().pending.iter().filter(|pending| !expiring.contains(&pending.request));
    let next = pending.filter_map(|pending| pending.expires_at).min()?;
    Some(Instant::now() + next.since(now))
}

/// Returns when the run reaches `limits.run_seconds`.
fn deadline(writer: &Writer, app: &App, now: Timestamp) -> Option<Instant> {
    let deadline = writer.state().deadline(app.longest_run())?;
    Some(Instant::now() + deadline.since(now))
}
