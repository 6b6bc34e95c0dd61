//! A semaphore that is fair between owners: permits of a pool, given round robin, of which no owner can take all.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Permits that owners share.
///
/// - **A share of the pool.** An owner that holds permits gets another one only while more are free than it holds. Alone it
///   gets half of them, beside one that wants as many a third, and so on: there is room for a newcomer at once until about
///   as many owners hold permits as there are. An owner that holds none gets whatever is free.
/// - **Round robin.** When a permit becomes free, the owner gets it that was served longest ago, among those that may have
///   one; each owner's own waiters are served in their order. How many wait for one owner makes no difference to others.
///
/// Cheap to clone. An owner is whatever number the caller tells owners apart by; nothing is kept of one that neither holds nor
/// waits.
#[derive(Clone)]
pub struct Turns {
    state: Arc<Mutex<State>>,
}

struct State {
    free: usize,
    last_ticket: u64,
    owners: HashMap<u128, Owner>,
    /// The owners that have waiters, the one to be asked first in front.
    round: VecDeque<u128>,
}

#[derive(Default)]
struct Owner {
    held: usize,
    /// By ticket, so that the first that came is the first in order, and one that gives up is found.
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
}

/// A permit; given back when it is dropped.
pub struct Turn {
    turns: Turns,
    owner: u128,
}

impl Turns {
    /// A pool of `permits`, at least one.
    pub fn new(permits: usize) -> Self {
        let state =
            State { free: permits.max(1), last_ticket: 0, owners: HashMap::new(), round: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a permit. Dropping the future gives up the place, or the permit if it was just given.
    pub async fn acquire(&self, owner: u128) -> Turn {
        let (ticket, given) = {
            let mut state = self.lock();
            // Whoever waits may not have one: so nobody is overtaken, except by an owner that holds less.
            if state.take(owner) {
                return Turn { turns: self.clone(), owner };
            }
            state.enqueue(owner)
        };
        let _place = Place { turns: self, owner, ticket };
        // The sender lives until it gives or this place is given up, which is below.
        given.await.unwrap_or_else(|_| unreachable!("a place in the queue is only given up by who waits"))
    }

    fn give_back(&self, owner: u128) {
        let mut state = self.lock();
        state.free += 1;
        if let Some(known) = state.owners.get_mut(&owner) {
            known.held -= 1;
        }
        state.forget_if_idle(owner);
        let mut given = Vec::new();
        while let Some((owner, waiter)) = state.next() {
            given.push((owner, waiter));
        }
        drop(state);
        for (owner, waiter) in given {
            // One that gave up meanwhile drops the permit, which gives it back again: not under the lock.
            let _ = waiter.send(Turn { turns: self.clone(), owner });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a permit for `owner`, if it may have one.
    fn take(&mut self, owner: u128) -> bool {
        let held = self.owners.get(&owner).map_or(0, |it| it.held);
        if self.free <= held {
            return false;
        }
        self.free -= 1;
        self.owners.entry(owner).or_default().held += 1;
        true
    }

    fn enqueue(&mut self, owner: u128) -> (u64, oneshot::Receiver<Turn>) {
        let (give, given) = oneshot::channel();
        self.last_ticket += 1;
        let known = self.owners.entry(owner).or_default();
        if known.waiting.is_empty() {
            self.round.push_back(owner);
        }
        known.waiting.insert(self.last_ticket, give);
        (self.last_ticket, given)
    }

    /// Takes a permit for the next one that waits and may have one.
    fn next(&mut self) -> Option<(u128, oneshot::Sender<Turn>)> {
        for at in 0..self.round.len() {
            let owner = self.round[at];
            if !self.take(owner) {
                continue;
            }
            self.round.remove(at);
            let known = self.owners.get_mut(&owner)?;
            let (_, waiter) = known.waiting.pop_first()?;
            if !known.waiting.is_empty() {
                self.round.push_back(owner);
            }
            return Some((owner, waiter));
        }
        None
    }

    fn give_up(&mut self, owner: u128, ticket: u64) {
        if let Some(known) = self.owners.get_mut(&owner)
            && known.waiting.remove(&ticket).is_some()
            && known.waiting.is_empty()
        {
            self.round.retain(|it| *it != owner);
            self.forget_if_idle(owner);
        }
    }

    fn forget_if_idle(&mut self, owner: u128) {
        if self.owners.get(&owner).is_some_and(|it| it.held == 0 && it.waiting.is_empty()) {
            self.owners.remove(&owner);
        }
    }
}

/// A place in the queue.
struct Place<'a> {
    turns: &'a Turns,
    owner: u128,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.lock().give_up(self.owner, self.ticket);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(self.owner);
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Turns").field("free", &state.free).field("owners", &state.owners.len()).finish()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("owner", &self.owner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// What the future gives now, if anything.
    fn now<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// As many permits as the owner gets without waiting.
    fn fill(turns: &Turns, owner: u128) -> Vec<Turn> {
        std::iter::from_fn(|| now(pin!(turns.acquire(owner)))).collect()
    }

    type Waiting<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    /// Waiters that have been polled once, and wait.
    fn wait(turns: &Turns, owner: u128, count: usize) -> Vec<Waiting<'_>> {
        let mut all: Vec<Waiting<'_>> = Vec::new();
        for _ in 0..count {
            let mut one: Waiting<'_> = Box::pin(turns.acquire(owner));
            assert!(now(one.as_mut()).is_none(), "{owner} was to wait");
            all.push(one);
        }
        all
    }

    /// The permits of those that have them now; the others go on waiting.
    fn served(waiting: &mut Vec<Waiting<'_>>) -> Vec<Turn> {
        let mut turns = Vec::new();
        waiting.retain_mut(|it| match now(it.as_mut()) {
            Some(turn) => {
                turns.push(turn);
                false
            }
            None => true,
        });
        turns
    }

    fn idle(turns: &Turns, permits: usize) {
        let state = turns.lock();
        assert_eq!((state.free, state.owners.len(), state.round.len()), (permits, 0, 0));
    }

    #[test]
    fn one_owner_leaves_half_and_each_further_one_leaves_some() {
        let turns = Turns::new(16);
        let all: Vec<_> = (1..=6).map(|owner| fill(&turns, owner)).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [8, 4, 2, 1, 1, 0]);
        drop(all);
        idle(&turns, 16);
        for permits in [0, 1] {
            assert_eq!(fill(&Turns::new(permits), 1).len(), 1);
        }
        assert_eq!(fill(&Turns::new(3), 1).len(), 2);
    }

    #[test]
    fn a_newcomer_starts_at_once_however_many_wait() {
        let turns = Turns::new(8);
        let held = fill(&turns, 1);
        let waiting = wait(&turns, 1, 1000);
        let other = fill(&turns, 2);
        assert_eq!((held.len(), other.len()), (4, 2));
        drop((waiting, held, other));
        idle(&turns, 8);
    }

    #[test]
    fn an_owner_that_holds_much_shrinks_for_others() {
        let turns = Turns::new(8);
        let mut held = fill(&turns, 1);
        let mut waiting = wait(&turns, 1, 10);
        let mut others: Vec<_> = (2..=5).flat_map(|owner| fill(&turns, owner)).collect();
        assert_eq!(others.len(), 4);
        let mut sixth = wait(&turns, 6, 1);
        // The first one to be given back goes to who has none, though another waited longer.
        held.pop();
        assert!(served(&mut waiting).is_empty());
        others.extend(served(&mut sixth));
        assert_eq!(others.len(), 5);
        drop(held);
        let mut again = served(&mut waiting);
        assert_eq!(again.len(), 2, "of three that were given back");
        drop(others);
        again.extend(served(&mut waiting));
        assert_eq!(again.len(), 4, "alone again, it has half");
        drop((waiting, again));
        idle(&turns, 8);
    }

    #[test]
    fn turns_go_round_and_an_owners_own_stay_in_order() {
        let turns = Turns::new(1);
        let mut turn = fill(&turns, 9);
        let order = [1, 1, 1, 1, 2, 3, 3];
        let mut waiting: Vec<(usize, Waiting<'_>)> =
            order.iter().enumerate().map(|(i, owner)| (i, wait(&turns, *owner, 1).remove(0))).collect();
        let mut seen = Vec::new();
        while !waiting.is_empty() {
            turn.clear();
            let place = waiting.iter_mut().position(|(_, it)| match now(it.as_mut()) {
                Some(got) => {
                    turn.push(got);
                    true
                }
                None => false,
            });
            seen.push(waiting.remove(place.expect("somebody is served")).0);
        }
        assert_eq!(seen, [0, 4, 5, 1, 6, 2, 3]);
        drop(turn);
        idle(&turns, 1);
    }

    #[test]
    fn who_gives_up_holds_nobody_up() {
        let turns = Turns::new(1);
        let turn = fill(&turns, 9);
        let mut first = wait(&turns, 1, 3);
        let mut second = wait(&turns, 2, 1);
        // Before it is given one …
        drop(first.remove(0));
        drop(turn);
        // … and after, before it knows.
        drop(first.remove(0));
        let turn = served(&mut second);
        assert_eq!(turn.len(), 1, "the permit that was never seen went on");
        drop(turn);
        assert_eq!(served(&mut first).len(), 1);
        drop(first);
        idle(&turns, 1);
    }

    #[test]
    fn all_that_give_up_at_once_leave_nothing() {
        let turns = Turns::new(4);
        let held = fill(&turns, 1);
        let waiting: Vec<_> = (1..50).flat_map(|owner| wait_some(&turns, owner)).collect();
        drop(held);
        drop(waiting);
        idle(&turns, 4);
    }

    /// Polled once, whatever came of it.
    fn wait_some(turns: &Turns, owner: u128) -> Vec<Waiting<'_>> {
        (0..3)
            .filter_map(|_| {
                let mut one: Waiting<'_> = Box::pin(turns.acquire(owner));
                now(one.as_mut()).is_none().then_some(one)
            })
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wakeup_is_lost_and_no_share_exceeded_among_threads() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        const PERMITS: usize = 6;
        let turns = Turns::new(PERMITS);
        let held = Arc::new([const { AtomicUsize::new(0) }; 5]);
        let tasks: Vec<_> = (0..400_usize)
            .map(|i| {
                let (turns, held) = (turns.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    let owner = i % held.len();
                    let acquire = turns.acquire(owner as u128);
                    if i % 7 == 0 {
                        // Some give up after a moment, wherever that finds them.
                        tokio::select! {
                            biased;
                            _ = acquire => {}
                            () = async { for _ in 0..i % 5 { tokio::task::yield_now().await } } => {}
                        }
                        return;
                    }
                    let turn = acquire.await;
                    assert!(held[owner].fetch_add(1, Ordering::SeqCst) < PERMITS / 2);
                    tokio::task::yield_now().await;
                    held[owner].fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
        idle(&turns, PERMITS);
    }
}
