//! The properties that must hold: in every state, at every step, and at the end.

use crate::{
    actor::{Actor, Doing, Outcome, run_id},
    config::{Config, Item, begins_at, expires_at, rests_until},
    engine::{Keys, answer_bit, ask_bit, call_bit, keys_of, wait_bit},
    store::{Store, Stored},
    worker::{FIRST_ACTOR, Worker},
    world::{Violation, World, name},
};
use runyard_runs::{
    Entry, EventBody, RequestId,
    protocol::{Answered, CreateOutcome, Ended},
};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// The sequences of a log have no gap and no overlap.
    Gapless,
    /// At most one terminal event, and nothing after it.
    Sealed,
    /// After a claim, no worker with an earlier claim writes; no worker writes without a claim.
    NoneSuperseded,
    /// No call begins whose result was in the log at the time of the claim, or was recorded by the same claim since.
    NotRecordedAgain,
    /// No call begins before the claim is in the log.
    ClaimedFirst,
    /// No call begins before what it depends on is in the log.
    JournaledFirst,
    /// A claim that is superseded, or whose run has ended, begins at most one more call in each branch.
    OneLateStep,
    /// A claim begins each call at most once.
    OncePerClaim,
    /// If no live worker loses its lease, each call begins once, and once more for each crash or hand-over.
    PaidOnce,
    /// No call begins before the time that it waits for.
    NotBefore,
    /// A branch that only waits for an answer does not wait until a rest of another branch ends.
    AnswerIsHeard,
    /// No worker claims a run while another claim has a valid lease.
    LeaseRespected,
    /// Only its owner ends a valid lease.
    LeaseKept,
    /// The record agrees with the log on status, questions and owner.
    RecordAgrees,
    /// The record of an ended run has a terminal status.
    EndIsHeard,
    /// A run that has not ended is in the index of due runs, with a time before it expires.
    StaysDue,
    /// Shown events are in the log, as they were shown.
    Shown,
    /// A key has at most one run: that of the request that the key is bound to.
    OneRunPerKey,
    /// A client gets the run of its own request, and a conflict if and only if there is one.
    ToldRight,
    /// A run, cancel or answer that was acknowledged to a client exists.
    AcknowledgedIsKept,
    /// A question is answered at most once.
    AnsweredOnce,
    /// No executor waits forever.
    NobodyIdles,
    /// From every state, every run ends if there are no further faults and all participants get their turn.
    Ends,
    /// A run whose questions are all answered does not wait until it expires.
    Wakes,
    /// A run fails with `worker_lost` only if it kills its workers.
    NotLost,
}

/// The answers among the keys.
const ANSWERS: Keys = 0x00ff_0000;

/// How soon an answer takes effect, whatever is lost; less than a rest.
const MAX_ANSWER_DELAY: Duration = Duration::from_mins(8);

fn fails(property: Property, text: impl Into<String>) -> Result<(), Violation> {
    Err(Violation::new(property, text))
}

/// What must hold in every state.
pub fn state(world: &mut World, config: &Config) {
    let mut results: Vec<_> = world
        .store
        .runs
        .iter()
        .flat_map(|run| [log(run), record(run), end_is_heard(run), due(run)])
        .collect();
    results.push(clients(world, config));
    for result in results {
        world.store.found.note(result);
    }
}

fn clients(world: &World, config: &Config) -> Result<(), Violation> {
    let (end, over) = world.shown;
    if over && world.store.run(run_id(0)).is_some_and(|run| run.end() > end) {
        return fails(Property::Shown, "a follower's stream ended too early");
    }
    if config.requests.iter().all(|request| request.key.is_some()) {
        let bound = world.store.key.as_ref().map(|item| (item.run, item.request[0]));
        if world.store.runs.iter().any(|run| Some((run.id, run.request)) != bound) {
            return fails(Property::OneRunPerKey, "a run exists that the key is not bound to");
        }
    }
    for id in &world.accepted {
        if world.store.run(*id).is_none() {
            return fails(Property::AcknowledgedIsKept, "a client got the id of a run that does not exist");
        }
    }
    Ok(())
}

fn log(run: &Stored) -> Result<(), Violation> {
    let (mut end, mut over, mut claim) = (0, false, None);
    let mut answered: Vec<RequestId> = Vec::new();
    for entry in &run.log {
        if entry.first != end + 1 || entry.events.is_empty() {
            return fails(Property::Gapless, format!("{} after {end}", name(entry)));
        }
        end = entry.last();
        let is_worker = entry.writer.0.as_u128() < FIRST_ACTOR;
        if entry.is_claim() {
            if claim == Some(entry.writer) {
                return fails(Property::NoneSuperseded, format!("{} claims twice", name(entry)));
            }
            claim = Some(entry.writer);
        }
        let earlier = run.log.iter().take_while(|existing| existing.first < entry.first);
        let claims_again =
            entry.is_claim() && earlier.clone().any(|existing| existing.writer == entry.writer);
        if claims_again || (is_worker && claim != Some(entry.writer)) {
            return fails(Property::NoneSuperseded, format!("{} after the claim {claim:?}", name(entry)));
        }
        for logged in &entry.events {
            if over {
                return fails(Property::Sealed, format!("{} after the end", name(entry)));
            }
            over = logged.body.ends_as().is_some();
            if let EventBody::InputReceived { request_id, .. } = &logged.body {
                if answered.contains(request_id) {
                    return fails(Property::AnsweredOnce, name(entry));
                }
                answered.push(*request_id);
            }
        }
    }
    Ok(())
}

fn record(run: &Stored) -> Result<(), Violation> {
    let (record, state) = (&run.record, run.state());
    let over = state.status.is_terminal();
    let agrees = record.status == state.status
        && record.unanswered != state.pending.is_empty()
        && record.upto <= run.end()
        && record.ended_at.is_some() == over
        && (!(over || state.is_asleep()) || record.owner.is_none())
        && (!over || record.due.is_none());
    if !agrees {
        return fails(Property::RecordAgrees, format!("{record:?} with {state:?}"));
    }
    Ok(())
}

fn end_is_heard(run: &Stored) -> Result<(), Violation> {
    if run.state().status.is_terminal() && !run.record.status.is_terminal() {
        return fails(Property::EndIsHeard, format!("{:?}", run.record));
    }
    Ok(())
}

fn due(run: &Stored) -> Result<(), Violation> {
    let (record, state) = (&run.record, run.state());
    let in_time = |due| due < expires_at() || state.is_asleep();
    if !state.status.is_terminal() && !record.due.is_some_and(in_time) {
        return fails(Property::StaysDue, format!("{record:?} with {state:?}"));
    }
    Ok(())
}

/// What must hold when an entry is shown.
pub fn shown(store: &Store, entry: &Entry) -> Result<(), Violation> {
    let run = store.run(entry.run);
    if run.is_some_and(|run| run.log.iter().any(|existing| **existing == *entry)) {
        return Ok(());
    }
    fails(Property::Shown, format!("{} is not in the log", name(entry)))
}

/// What must hold when a call begins. Also returns whether the call is late.
pub fn begins(
    world: &World,
    worker: &Worker,
    branch: usize,
    call: u8,
    config: &Config,
) -> (bool, Result<(), Violation>) {
    let log = world.store.run(worker.run).map_or(&[][..], |run| &run.log);
    let violates = |property, what: &str| {
        Err(Violation::new(property, format!("call {call} begins by {:?}: {what}", worker.claim)))
    };
    let Some(claimed_at) = log.iter().position(|entry| entry.is_claim() && entry.writer == worker.claim)
    else {
        return (false, violates(Property::ClaimedFirst, "its claim is not in the log"));
    };
    let superseded_at = log.iter().skip(claimed_at + 1).position(|entry| entry.is_claim());
    let is_over = log.last().is_some_and(|entry| entry.state.status.is_terminal());
    let is_late = superseded_at.is_some() || is_over;
    let recorded = log.iter().fold(0, |keys: Keys, entry| keys | keys_of(&entry.events));
    let script = config.script_of(worker.run);
    let needs = script[branch].iter().map_while(|item| match item {
        Item::Call(number) | Item::Kill(number) | Item::Long(number) if *number == call => None,
        Item::Call(number) | Item::Kill(number) | Item::Long(number) => Some(call_bit(*number)),
        Item::Ask(number) => Some(ask_bit(*number) | answer_bit(*number)),
        Item::Rest(number) => Some(wait_bit(*number)),
        Item::Die => Some(0),
    });
    let needs = needs.fold(0, |keys, bit| keys | bit);
    let own = &log[..superseded_at.map_or(log.len(), |at| claimed_at + 1 + at)];
    let (had, left) = (&config.budget, &world.left);
    let lost = had.crashes.saturating_sub(left.crashes) + had.hand_overs.saturating_sub(left.hand_overs);
    let deadly = script.iter().flat_map(|branch| branch.iter()).any(|item| matches!(item, Item::Long(_)));
    let suspects = deadly || world.now != begins_at() || config.ahead != 0;
    let before = script[branch].iter().take_while(|item| **item != Item::Call(call));
    let until = before.filter_map(|item| match item {
        Item::Rest(number) => Some(rests_until(*number)),
        _ => None,
    });
    let until = until.max();
    let answered = log.iter().rfind(|entry| keys_of(&entry.events) & needs & ANSWERS != 0);
    let result = if recorded & needs != needs {
        violates(Property::JournaledFirst, "what it depends on is not in the log")
    } else if until
        .is_some_and(|until| world.now + Duration::from_millis(worker.ahead.unsigned_abs()) < until)
    {
        violates(Property::NotBefore, "the time that it waits for has not come")
    } else if until.is_none()
        && world.begun[usize::from(call)] == 1
        && answered.is_some_and(|entry| entry.at + MAX_ANSWER_DELAY < world.now)
    {
        violates(Property::AnswerIsHeard, "it was answered long ago")
    } else if own.iter().any(|entry| keys_of(&entry.events) & call_bit(call) != 0) {
        violates(Property::NotRecordedAgain, "its result is already recorded")
    } else if is_late && worker.late[branch] > 0 {
        violates(Property::OneLateStep, "the branch already had a late call")
    } else if worker.began & call_bit(call) != 0 {
        violates(Property::OncePerClaim, "this claim began it before")
    } else if !suspects && world.begun[usize::from(call)] > 1 + lost {
        violates(Property::PaidOnce, "it began before")
    } else {
        Ok(())
    };
    (is_late, result)
}

/// What must hold when a client gets a response.
pub fn outcome(world: &World, actor: &Actor, outcome: &Outcome) -> Result<(), Violation> {
    let run = world.store.run(actor.run);
    match (&actor.doing, outcome) {
        (Doing::Create { request, key, .. }, Outcome::Create(outcome)) => {
            let is_right = match outcome {
                CreateOutcome::Created(id) | CreateOutcome::Replayed(id) => {
                    let Some(run) = world.store.run(*id) else {
                        return fails(Property::AcknowledgedIsKept, "a run that does not exist");
                    };
                    run.request == key.unwrap_or(*request)
                }
                CreateOutcome::Conflict(id) => {
                    let bound = world.store.key.as_ref().map(|item| (item.run, item.request[0]));
                    bound.is_some_and(|(run, of)| run == *id && Some(of) != *key)
                }
                CreateOutcome::Unknown => true,
            };
            if !is_right {
                return fails(Property::ToldRight, format!("request {request} got {outcome:?}"));
            }
        }
        (_, Outcome::Cancel(Ended::Now(_) | Ended::Before))
            if !run.is_some_and(|run| run.state().status.is_terminal()) =>
        {
            return fails(Property::AcknowledgedIsKept, "a cancel");
        }
        (Doing::Answer { writer, .. }, Outcome::Answer(Answered::Now))
            if !run.is_some_and(|run| run.log.iter().any(|entry| entry.writer == *writer)) =>
        {
            return fails(Property::AcknowledgedIsKept, "an answer");
        }
        (
            Doing::Answer { writer, .. },
            Outcome::Answer(outcome @ (Answered::NotPending | Answered::Ended)),
        ) if run.is_some_and(|run| run.log.iter().any(|entry| entry.writer == *writer)) => {
            return fails(Property::ToldRight, format!("an answer that was recorded got {outcome:?}"));
        }
        _ => {}
    }
    Ok(())
}

/// What must hold once no action is left.
pub fn end(world: &mut World, config: &Config) {
    let results: Vec<_> = world.store.runs.iter().map(|run| ended(run, config)).collect();
    for result in results {
        world.store.found.note(result);
    }
}

fn ended(run: &Stored, config: &Config) -> Result<(), Violation> {
    {
        let Some(last) = run.log.last().filter(|last| last.state.status.is_terminal()) else {
            return fails(Property::Ends, "no action is left, and the run has not ended");
        };
        let Some(EventBody::RunFailed { error }) = last.events.last().map(|logged| &logged.body) else {
            return Ok(());
        };
        let before = run.log.iter().rev().nth(1);
        let waited = before.is_some_and(|entry| !entry.state.pending.is_empty());
        let asked = run.log.iter().any(|entry| keys_of(&entry.events) & 0xff00 != 0);
        let deadly = |item: &Item| matches!(item, Item::Die | Item::Kill(_) | Item::Long(_));
        let kills = config.script_of(run.id).iter().any(|branch| branch.iter().any(deadly));
        match error.code.as_str() {
            "expired" if waited => {}
            "expired" if asked => return fails(Property::Wakes, "it waited until it expired"),
            "expired" => return fails(Property::Ends, "it was not executed until it expired"),
            "worker_lost" if !kills => return fails(Property::NotLost, "it does not kill its workers"),
            _ => {}
        }
    }
    Ok(())
}
