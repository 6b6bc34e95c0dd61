//! A state of all participants, and the actions that are possible next.

use crate::{
    actor::{Actor, Doing, Outcome, run_id},
    config::{Budget, Config, Item, LONGEST_DELAY, Off, Splits, begins_at},
    engine::{Stands, call_bit, request},
    properties::{self, Property},
    store::{Role, Store, Stored, Tells},
    worker::{Phase, Place, Turned, Worker},
};
use runyard_runs::{
    Entry, Guard, RunId, Sequence, Timestamp,
    protocol::{CreateOutcome, LOST_ONE, Op, Reply, SUSPECT, Stop, Writer},
};
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

#[derive(Clone, Debug, Hash)]
pub struct World {
    pub store: Store,
    pub now: Timestamp,
    /// Messages, each with the time from which it may be delivered.
    pub queue: Vec<(RunId, Timestamp)>,
    /// Operations whose reply is lost or not awaited; each may be performed at any time, or never.
    pub network: Vec<(RunId, Role, Op)>,
    pub workers: Vec<Arc<Worker>>,
    pub actors: Vec<Arc<Actor>>,
    pub left: Budget,
    /// Number of claims so far.
    pub claims: u32,
    pub sweeps: u32,
    /// How often each call has begun.
    pub begun: [u8; 4],
    /// The last sequence of the first run that a follower was shown, and whether its stream has ended.
    pub shown: (Sequence, bool),
    /// The runs whose ids clients got.
    pub accepted: Vec<RunId>,
    pub runs: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Worker(usize),
    Actor(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The operation in flight is performed, and its reply arrives.
    Do(Who),
    /// The same; of two failed conditions, the store reports the guard.
    DoRefused(Who),
    /// The reply is lost; the operation may be performed later.
    Lose(Who),
    /// The entry is appended, the record is not changed, and the reply is lost.
    Split(Who),
    Crash(Who),
    /// An abandoned operation is performed.
    Land(usize),
    Deliver(usize),
    Duplicate(usize),
    Drop(usize),
    Begin(usize, usize),
    Finish(usize, usize),
    Gather(usize),
    Renew(usize),
    Look(usize),
    HandOver(usize),
    TimeOut(usize),
    /// The probation of a run that has lost workers is over.
    Clear(usize),
    Tick,
    Sweep(usize),
    /// The follower reads the events that are new to it.
    Read,
}

/// A property that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub property: Property,
    pub text: String,
}

/// The violations since they were last taken. Not part of a state.
#[derive(Clone, Debug, Default)]
pub struct Found(pub Vec<Violation>);

impl Found {
    pub fn note(&mut self, result: Result<(), Violation>) {
        self.0.extend(result.err());
    }
}

impl Hash for Found {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

impl Violation {
    pub fn new(property: Property, text: impl Into<String>) -> Self {
        Self { property, text: text.into() }
    }

    pub fn lease(entry: &Entry) -> Self {
        Self::new(Property::LeaseRespected, format!("{} claims while another lease is valid", name(entry)))
    }
}

/// Maximum number of messages in the queue.
const MAX_QUEUE: usize = 2;

impl World {
    pub fn new(config: &Config) -> Self {
        let mut world = Self {
            store: Store::default(),
            now: begins_at(),
            queue: Vec::new(),
            network: Vec::new(),
            workers: Vec::new(),
            actors: Vec::new(),
            left: config.budget,
            claims: 0,
            sweeps: 0,
            begun: [0; 4],
            shown: (0, false),
            accepted: Vec::new(),
            runs: 0,
        };
        for (number, request) in (0..).zip(&config.requests) {
            let key = request.key;
            world.enter_create(number, request.sync, key);
        }
        for number in 0..u32::from(config.cancels) {
            world.enter(Actor::cancel(number));
        }
        for (number, ask) in (0..).zip(&config.answers) {
            world.enter(Actor::answer(number, *ask));
        }
        world
    }

    fn enter_create(&mut self, request: u8, sync: bool, key: Option<u8>) {
        let claim = sync.then(|| {
            self.claims += 1;
            self.claims
        });
        let run = self.runs;
        self.runs += 1;
        self.enter(Actor::create(run, key.unwrap_or(request), claim, key, self.now));
    }

    fn enter(&mut self, mut actor: Actor) {
        let now = self.clock(actor.ahead);
        actor.advance(now);
        self.actors.push(Arc::new(actor));
    }

    fn clock(&self, ahead: i64) -> Timestamp {
        Timestamp(self.now.0 + ahead)
    }

    /// Returns the time of the clock that is most ahead.
    fn latest(&self, config: &Config) -> Timestamp {
        self.clock(config.ahead.max(0) * config.tick)
    }

    fn flight(&self, who: Who) -> Option<(RunId, Role, &Op)> {
        match who {
            Who::Worker(index) => {
                let worker = &self.workers[index];
                worker.flight.as_ref().map(|op| (worker.run, worker.role(), op))
            }
            Who::Actor(index) => {
                let actor = &self.actors[index];
                actor.flight.as_ref().map(|op| (actor.run, actor.role(), op))
            }
        }
    }

    /// Returns all participants that have an operation in flight and may act.
    fn busy(&self) -> impl Iterator<Item = Who> + '_ {
        let workers = (0..self.workers.len()).map(Who::Worker);
        let actors = (0..self.actors.len()).filter(|index| self.may_act(*index)).map(Who::Actor);
        workers.chain(actors).filter(|who| self.flight(*who).is_some())
    }

    /// Whether an actor may act: a run cannot be known before it exists, nor a question before it is asked.
    fn may_act(&self, index: usize) -> bool {
        let actor = &self.actors[index];
        let Some(run) = self.store.run(actor.run) else { return matches!(actor.doing, Doing::Create { .. }) };
        match &actor.doing {
            Doing::Answer { ask, .. } => {
                let id = request(*ask);
                let mut events = run.log.iter().flat_map(|entry| &entry.events);
                events.any(|logged| logged.body.request().is_some_and(|asked| asked.id == id))
            }
            _ => true,
        }
    }

    /// Returns all actions that are possible now.
    pub fn actions(&self, config: &Config) -> Vec<Action> {
        let mut actions = Vec::with_capacity(16);
        let left = &self.left;
        for who in self.busy() {
            let Some((run, role, op)) = self.flight(who) else { continue };
            actions.push(Action::Do(who));
            if self.store.fails_twice(run, op) {
                actions.push(Action::DoRefused(who));
            }
            if left.lost > 0 {
                actions.push(Action::Lose(who));
            }
            if left.split > 0 && self.splits(run, role, op, config) {
                actions.push(Action::Split(who));
            }
        }
        if left.crashes > 0 {
            actions.extend((0..self.workers.len()).map(|index| Action::Crash(Who::Worker(index))));
            let actors = (0..self.actors.len()).filter(|index| self.may_act(*index));
            actions.extend(actors.map(|index| Action::Crash(Who::Actor(index))));
        }
        actions.extend((0..self.network.len()).map(Action::Land));
        for (index, (run, from)) in self.queue.iter().enumerate() {
            if *from <= self.now
                && self.admits(*run, config).is_some()
                && left.workers > 0
                && self.workers.len() < usize::from(config.at_once)
            {
                actions.push(Action::Deliver(index));
                if left.duplicated > 0 {
                    actions.push(Action::Duplicate(index));
                }
            }
            if left.dropped > 0 {
                actions.push(Action::Drop(index));
            }
        }
        for index in 0..self.workers.len() {
            self.worker_actions(index, config, &mut actions);
        }
        if left.ticks > 0 {
            actions.push(Action::Tick);
        }
        let sweeps = self.actors.iter().any(|actor| matches!(actor.doing, Doing::Sweep(_)));
        if left.sweeps > 0 && !sweeps {
            actions.extend(self.due(config).map(Action::Sweep));
        }
        if config.followed && self.store.run(run_id(0)).is_some_and(|run| run.end() > self.shown.0) {
            actions.push(Action::Read);
        }
        actions
    }

    fn worker_actions(&self, index: usize, config: &Config, actions: &mut Vec<Action>) {
        let worker = &self.workers[index];
        let begins = worker.calls(config, Stands::Granted);
        actions.extend(begins.into_iter().map(|(branch, _)| Action::Begin(index, branch)));
        for (branch, item) in worker.calls(config, Stands::Calls) {
            if !matches!(item, Item::Long(_)) {
                actions.push(Action::Finish(index, branch));
            }
        }
        if !worker.told && (self.left.hand_overs > 0 || self.is_long(index, config)) {
            actions.push(Action::HandOver(index));
        }
        if !matches!(worker.phase, Phase::Attempt(_)) || worker.flight.is_some() {
            return;
        }
        if worker.engine().is_some_and(|engine| engine.waiting() == (true, false)) {
            actions.push(Action::Gather(index));
        }
        if self.left.deadlines > 0 && worker.writer.is_claimed() && worker.engine().is_some() {
            actions.push(Action::TimeOut(index));
        }
        // A run that kills its process does so during its probation: a slower one may make another suspect lose a
        // worker.
        let lasts =
            !config.script_of(worker.run).iter().any(|branch| branch.iter().any(|item| item.is_deadly()));
        if self.left.clearances > 0 && lasts && worker.place != Place::None && worker.writer.is_claimed() {
            actions.push(Action::Clear(index));
        }
        let now = self.clock(worker.ahead);
        if self.left.renewals > 0 && worker.writer.is_claimed() && worker.renewed_at < now {
            actions.push(Action::Renew(index));
        }
        if self.sees_news(index) {
            actions.push(Action::Look(index));
        }
    }

    /// Returns the place of a run if it may be executed now.
    fn admits(&self, run: RunId, config: &Config) -> Option<Place> {
        let Some(stored) = self.store.run(run) else { return Some(Place::None) };
        let progress = stored.state().journaled > stored.record.attempts_at;
        let attempts = if progress { 0 } else { stored.record.attempts };
        let taken = |place| self.workers.iter().any(|worker| worker.place == place);
        let alone = taken(Place::Alone) && config.off != Some(Off::OneSuspect);
        let lost_one = taken(Place::LostOne) && config.off != Some(Off::ApartFromLosers);
        match attempts {
            ..LOST_ONE => Some(Place::None),
            LOST_ONE => {
                let apart = config.off != Some(Off::ApartFromLosers);
                (!(alone && apart)).then_some(Place::LostOne)
            }
            SUSPECT.. => (!alone && !lost_one).then_some(Place::Alone),
        }
    }

    /// Whether the log has entries that a worker has not read.
    fn sees_news(&self, index: usize) -> bool {
        let worker = &self.workers[index];
        if !worker.writer.is_claimed() || worker.flight.is_some() {
            return false;
        }
        let mut writer = worker.writer.clone();
        writer.look();
        let end = self.store.run(worker.run).map_or(0, Stored::end);
        matches!(writer.next(self.now), Some(Op::Read { from }) if from <= end)
    }

    fn is_long(&self, index: usize, config: &Config) -> bool {
        let calls = self.workers[index].calls(config, Stands::Calls);
        calls.iter().any(|(_, item)| matches!(item, Item::Long(_)))
    }

    /// Returns the indexes of the runs that are due for the sweeper.
    fn due<'a>(&'a self, config: &Config) -> impl Iterator<Item = usize> + 'a {
        let now = self.clock(config.ahead * config.tick);
        let due = move |run: &Stored| run.record.due.is_some_and(|due| due <= now);
        self.store.runs.iter().enumerate().filter(move |(_, run)| due(run)).map(|(index, _)| index)
    }

    /// Performs an action.
    pub fn apply(&mut self, action: Action, config: &Config) {
        match action {
            Action::Do(who) => self.answer(who, Tells::Taken, config),
            Action::DoRefused(who) => self.answer(who, Tells::Refused, config),
            Action::Lose(who) => {
                self.left.lost -= 1;
                if let Some((run, role, op)) = self.take_flight(who) {
                    self.strand(run, role, &op, config);
                    self.reply(who, op, Reply::Unknown, config);
                }
            }
            Action::Split(who) => {
                self.left.split -= 1;
                if let Some((run, role, op)) = self.take_flight(who) {
                    if let Op::Commit(entry, change, guard) = &op
                        && self.store.run(run).is_some_and(|stored| guard.holds(&stored.record))
                    {
                        self.perform(run, role, &Op::Append(Arc::clone(entry)), Tells::Taken, config);
                        self.network.push((run, role, Op::Update(change.clone(), Guard::Always)));
                    }
                    self.reply(who, op, Reply::Unknown, config);
                }
            }
            Action::Crash(who) => {
                self.left.crashes -= 1;
                self.crash(who, config);
            }
            Action::Land(index) => {
                let (run, role, op) = self.network.remove(index);
                self.perform(run, role, &op, Tells::Taken, config);
            }
            Action::Deliver(index) | Action::Duplicate(index) => {
                let run = self.queue[index].0;
                let Some(place) = self.admits(run, config) else { return };
                if action == Action::Deliver(index) {
                    self.queue.remove(index);
                } else {
                    self.left.duplicated -= 1;
                }
                self.left.workers = self.left.workers.saturating_sub(1);
                self.claims += 1;
                let ahead = if self.claims.is_multiple_of(2) { config.ahead * config.tick } else { 0 };
                let opens = |run, claim, expires_at| {
                    let writer = Writer::open(run, claim, expires_at);
                    if place == Place::Alone { writer.alone() } else { writer }
                };
                let mut worker = Worker::new(run, self.claims, opens, ahead);
                worker.place = place;
                self.start(worker, config);
            }
            Action::Drop(index) => {
                self.left.dropped -= 1;
                self.queue.remove(index);
            }
            Action::Begin(index, branch) => self.begin(index, branch, config),
            Action::Finish(index, branch) => {
                let calls = self.workers[index].calls(config, Stands::Calls);
                let item = calls.iter().find(|(number, _)| *number == branch).map(|(_, item)| *item);
                let Some(Item::Call(call) | Item::Long(call) | Item::Kill(call)) = item else { return };
                self.turn(index, config, |worker, _, _| worker.finish(branch, call));
            }
            Action::Gather(index) => self.turn(index, config, |worker, _, _| worker.gather()),
            Action::Renew(index) => {
                self.left.renewals -= 1;
                self.turn(index, config, |worker, now, _| {
                    worker.renewed_at = now;
                    worker.writer.renew();
                });
            }
            Action::Look(index) => self.turn(index, config, |worker, _, _| worker.writer.look()),
            Action::HandOver(index) => {
                if !self.is_long(index, config) {
                    self.left.hand_overs -= 1;
                }
                self.turn(index, config, |worker, _, _| worker.told = true);
            }
            Action::TimeOut(index) => {
                self.left.deadlines -= 1;
                self.turn(index, config, |worker, _, _| worker.time_out());
            }
            Action::Clear(index) => {
                self.left.clearances -= 1;
                self.turn(index, config, |worker, _, _| worker.outlive_probation(config));
            }
            Action::Tick => {
                self.left.ticks -= 1;
                self.now = self.now + Duration::from_millis(config.tick.unsigned_abs());
            }
            Action::Sweep(index) => {
                self.left.sweeps = self.left.sweeps.saturating_sub(1);
                self.sweeps += 1;
                let run = self.store.runs[index].id;
                self.enter(Actor::sweep(run, self.sweeps, config.ahead * config.tick));
            }
            Action::Read => {
                if let Some(run) = self.store.run(run_id(0)) {
                    self.shown = (run.end(), run.state().status.is_terminal());
                }
            }
        }
    }

    /// Whether the change of the record may be lost for this operation.
    fn splits(&self, run: RunId, role: Role, op: &Op, config: &Config) -> bool {
        let Op::Commit(entry, ..) = op else { return false };
        match config.splits {
            Splits::Claims => entry.is_claim() && !entry.state.status.is_terminal(),
            Splits::Cancels => {
                role == Role::Ender && self.store.run(run).is_some_and(|run| run.state().is_asleep())
            }
            Splits::Answers => role == Role::Answerer,
        }
    }

    /// Keeps an operation whose reply is lost or not awaited: it may still be performed.
    fn strand(&mut self, run: RunId, role: Role, op: &Op, config: &Config) {
        if matches!(op, Op::Read { .. } | Op::Head) {
            return;
        }
        let mut op = op.clone();
        if config.off == Some(Off::SameBatch)
            && role == Role::Writer
            && let Op::Append(entry) | Op::Commit(entry, ..) = &mut op
            && entry.events.len() > 1
            && !entry.state.status.is_terminal()
        {
            // As if it had been sent before the last event was pushed, and is sent again with it.
            let mut before = Entry::clone(entry);
            before.events.pop();
            *entry = Arc::new(before);
        }
        self.network.push((run, role, op));
    }

    fn take_flight(&mut self, who: Who) -> Option<(RunId, Role, Op)> {
        match who {
            Who::Worker(index) => {
                let worker = Arc::make_mut(&mut self.workers[index]);
                let role = worker.role();
                worker.flight.take().map(|op| (worker.run, role, op))
            }
            Who::Actor(index) => {
                let actor = Arc::make_mut(&mut self.actors[index]);
                let role = actor.role();
                actor.flight.take().map(|op| (actor.run, role, op))
            }
        }
    }

    fn answer(&mut self, who: Who, tells: Tells, config: &Config) {
        let Some((run, role, op)) = self.take_flight(who) else { return };
        let reply = self.perform(run, role, &op, tells, config);
        self.reply(who, op, reply, config);
    }

    fn perform(&mut self, run: RunId, role: Role, op: &Op, tells: Tells, config: &Config) -> Reply {
        let Op::Enqueue { delay, .. } = op else {
            let reply = self.store.perform(run, role, op, tells, config.off, self.latest(config));
            if let (Op::Create(_), Reply::Done) = (op, &reply)
                && let Some(stored) = self.store.runs.iter_mut().find(|stored| stored.id == run)
            {
                stored.record.attempts = config.attempts[usize::from(run != run_id(0))];
            }
            return reply;
        };
        let forgets = config.off == Some(Off::WakeOnAnswer) && role == Role::Answerer;
        if self.queue.len() < MAX_QUEUE && !forgets && *delay <= LONGEST_DELAY {
            self.queue.push((run, self.now + *delay));
            self.queue.sort_unstable();
        }
        Reply::Done
    }

    fn reply(&mut self, who: Who, op: Op, reply: Reply, config: &Config) {
        match who {
            Who::Worker(index) => self.turn(index, config, |worker, now, turned| {
                worker.reply(op, reply, now, config, turned);
            }),
            Who::Actor(index) => {
                let now = self.clock(self.actors[index].ahead);
                let actor = Arc::make_mut(&mut self.actors[index]);
                actor.reply(op, reply, now);
                if let Some(outcome) = actor.advance(now) {
                    self.conclude(index, &outcome, config);
                }
            }
        }
    }

    fn conclude(&mut self, index: usize, outcome: &Outcome, config: &Config) {
        let actor = self.actors.remove(index);
        let result = properties::outcome(self, &actor, outcome);
        self.store.found.note(result);
        let Doing::Create { request, sync, key, .. } = &actor.doing else { return };
        match outcome {
            Outcome::Create(CreateOutcome::Created(run)) => {
                self.accepted.push(*run);
                if let Some(claim) = sync {
                    self.start(Worker::new(*run, *claim, Writer::fresh, 0), config);
                }
            }
            Outcome::Create(CreateOutcome::Replayed(run)) => self.accepted.push(*run),
            Outcome::Create(CreateOutcome::Unknown) if self.left.retries > 0 => {
                self.left.retries -= 1;
                self.enter_create(*request, sync.is_some(), *key);
            }
            _ => {}
        }
        self.accepted.sort_unstable();
        self.accepted.dedup();
    }

    fn start(&mut self, worker: Worker, config: &Config) {
        self.workers.push(Arc::new(worker));
        self.turn(self.workers.len() - 1, config, |_, _, _| {});
    }

    /// Changes a worker, which then continues as far as it can.
    fn turn(
        &mut self,
        index: usize,
        config: &Config,
        happens: impl FnOnce(&mut Worker, Timestamp, &mut Turned),
    ) {
        let now = self.clock(self.workers[index].ahead);
        let worker = Arc::make_mut(&mut self.workers[index]);
        let mut turned = Turned::default();
        happens(worker, now, &mut turned);
        worker.advance(now, config, &mut turned);
        worker.leave_place();
        let (run, role, is_over) = (worker.run, worker.role(), worker.is_over());
        let suspected = worker.writer.stopped() == Some(&Stop::Suspected);
        for entry in &turned.shown {
            let result = properties::shown(&self.store, entry);
            self.store.found.note(result);
            if config.followed && entry.first <= self.shown.0 + 1 && entry.last() > self.shown.0 {
                self.shown = (entry.last(), entry.state.status.is_terminal());
            }
        }
        if let Some(op) = turned.abandoned {
            self.strand(run, role, &op, config);
        }
        if turned.died {
            self.crash(Who::Worker(index), config);
        } else if is_over {
            self.workers.remove(index);
            if suspected && self.queue.len() < MAX_QUEUE {
                self.queue.push((run, self.now));
                self.queue.sort_unstable();
            }
        }
    }

    fn crash(&mut self, who: Who, config: &Config) {
        if let Some((run, role, op)) = self.take_flight(who) {
            self.strand(run, role, &op, config);
        }
        match who {
            Who::Worker(_) if config.one_process => self.end_process(config),
            Who::Worker(index) => drop(self.workers.remove(index)),
            Who::Actor(index) => drop(self.actors.remove(index)),
        }
    }

    /// Ends the process with all its workers. Their runs become due at once, since the process's lock shows that it
    /// died.
    fn end_process(&mut self, config: &Config) {
        for index in 0..self.workers.len() {
            if let Some((run, role, op)) = self.take_flight(Who::Worker(index)) {
                self.strand(run, role, &op, config);
            }
        }
        let dead = std::mem::take(&mut self.workers);
        for run in &mut self.store.runs {
            let owner = run.record.owner;
            if owner.is_some_and(|owner| dead.iter().any(|worker| worker.claim == owner)) {
                run.record.due = run.record.due.map(|due| due.min(self.now));
                run.record.rev += 1;
            }
        }
    }

    fn begin(&mut self, index: usize, branch: usize, config: &Config) {
        let calls = self.workers[index].calls(config, Stands::Granted);
        let item = calls.iter().find(|(number, _)| *number == branch).map(|(_, item)| *item);
        let Some(item @ (Item::Call(call) | Item::Long(call) | Item::Kill(call))) = item else { return };
        self.begun[usize::from(call)] = self.begun[usize::from(call)].saturating_add(1);
        let (is_late, result) = properties::begins(self, &self.workers[index], branch, call, config);
        self.store.found.note(result);
        let worker = Arc::make_mut(&mut self.workers[index]);
        if is_late {
            worker.late[branch] += 1;
        }
        worker.began |= call_bit(call);
        worker.begin(branch);
        if matches!(item, Item::Kill(_)) {
            self.crash(Who::Worker(index), config);
        }
    }

    /// Returns the next action without faults, such that all participants get their turn; `None` if none is left.
    pub fn goes_on(&mut self, config: &Config) -> Option<Action> {
        self.left.workers = u8::MAX;
        let in_turn = (0..self.workers.len()).find_map(|index| {
            let worker = &self.workers[index];
            if worker.flight.is_some() {
                return Some(Action::Do(Who::Worker(index)));
            }
            if let Some((branch, _)) = worker.calls(config, Stands::Granted).first() {
                return Some(Action::Begin(index, *branch));
            }
            let calls = worker.calls(config, Stands::Calls);
            if let Some((branch, item)) = calls.first() {
                let long = matches!(item, Item::Long(_));
                return Some(if long { Action::HandOver(index) } else { Action::Finish(index, *branch) });
            }
            let waits = worker.engine().is_some_and(|engine| engine.waiting() == (true, false));
            if waits {
                return Some(Action::Gather(index));
            }
            self.sees_news(index).then_some(Action::Look(index))
        });
        if in_turn.is_some() {
            return in_turn;
        }
        if let Some(worker) = self.workers.first() {
            let text = format!("the executor {:?} waits forever: {:?}", worker.claim, worker.writer);
            self.store.found.note(Err(Violation::new(Property::NobodyIdles, text)));
            return None;
        }
        if let Some(who) = self.busy().find(|who| matches!(who, Who::Actor(_))) {
            return Some(Action::Do(who));
        }
        if self.sweeps >= config.backlog
            && let Some(index) = self
                .queue
                .iter()
                .position(|(run, from)| *from <= self.now && self.admits(*run, config).is_some())
        {
            return Some(Action::Deliver(index));
        }
        if let Some(index) = self.due(config).next() {
            return Some(Action::Sweep(index));
        }
        let due = self.store.runs.iter().filter_map(|run| run.record.due);
        let messages = self.queue.iter().map(|(_, from)| *from).filter(|from| *from > self.now);
        let next = due.chain(messages).min()?;
        self.now = self.now.max(next);
        self.goes_on(config)
    }

    /// Describes an action, for people.
    pub fn tell(&self, action: Action, config: &Config) -> String {
        let about = |who: Who| {
            let name = match who {
                Who::Worker(index) => format!("worker {}", short(self.workers[index].claim.0.as_u128())),
                Who::Actor(index) => match &self.actors[index].doing {
                    Doing::Create { request, .. } => format!("creator of request {request}"),
                    Doing::Cancel(_) => "canceler".to_owned(),
                    Doing::Answer { ask, .. } => format!("answerer of question {ask}"),
                    Doing::Sweep(_) => "sweeper".to_owned(),
                },
            };
            match self.flight(who) {
                Some((_, _, op)) => format!("{name}: {}", brief(op)),
                None => name,
            }
        };
        match action {
            Action::Do(who) => about(who),
            Action::DoRefused(who) => format!("{} (refused)", about(who)),
            Action::Lose(who) => format!("{} (reply lost)", about(who)),
            Action::Split(who) => format!("{} (the record is not changed)", about(who)),
            Action::Crash(who) => format!("{} (crashes)", about(who)),
            Action::Land(index) => format!("late request: {}", brief(&self.network[index].2)),
            Action::Begin(index, branch) => {
                let calls = self.workers[index].calls(config, Stands::Granted);
                format!(
                    "{} begins {:?}",
                    about(Who::Worker(index)),
                    calls.iter().find(|(at, _)| *at == branch)
                )
            }
            Action::Finish(index, _) => format!("{} finishes a call", about(Who::Worker(index))),
            Action::HandOver(index) => format!("{} is requested to hand over", about(Who::Worker(index))),
            other => format!("{other:?}"),
        }
    }
}

fn short(id: u128) -> String {
    format!("{id:x}")
}

pub fn name(entry: &Entry) -> String {
    let events: Vec<String> = entry
        .events
        .iter()
        .map(|logged| match &logged.key {
            Some(key) => format!("{}({key})", logged.body.name()),
            None => logged.body.name().to_owned(),
        })
        .collect();
    format!("{}:[{}] by {}", entry.first, events.join(", "), short(entry.writer.0.as_u128()))
}

fn brief(op: &Op) -> String {
    match op {
        Op::Append(entry) => format!("append {}", name(entry)),
        Op::Commit(entry, change, guard) => format!("commit {} {change:?} if {guard:?}", name(entry)),
        Op::Create(record) => format!("create, owner {:?}, due {:?}", record.owner, record.due),
        Op::Bind(item) => format!("bind to {}", item.run),
        other => format!("{other:?}"),
    }
}
