//! A semaphore that is fair between apps: permits are granted round robin, and no app can take all of them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// A pool of permits that apps share.
///
/// - **A share of the pool.** An app that holds permits gets another one only while more are free than it holds. A
///   single app gets half of them, each of two busy apps a third, and so on. So a new app gets a permit at once, until
///   about as many apps hold permits as there are permits. An app that holds none gets any free permit.
/// - **Round robin.** A permit that becomes free goes to the app that was served least recently, among those that may
///   have one. Waiters of one app are served in order. The number of waiters of one app does not affect other apps.
///
/// Cheap to clone. An app is any number that identifies it; nothing is kept of an app that neither holds nor waits for
/// a permit.
#[derive(Clone)]
pub struct Turns {
    state: Arc<Mutex<State>>,
}

struct State {
    free: usize,
    last_ticket: u64,
    apps: HashMap<u128, App>,
    /// The apps that have waiters, the next one to serve first.
    rotation: VecDeque<u128>,
}

#[derive(Default)]
struct App {
    held: usize,
    /// By ticket: in order of arrival, and so that a canceled waiter can be found.
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
}

/// A permit, returned when dropped.
pub struct Turn {
    turns: Turns,
    app: u128,
}

impl Turns {
    /// Creates a pool of `permits`, at least one.
    pub fn new(permits: usize) -> Self {
        let state =
            State { free: permits.max(1), last_ticket: 0, apps: HashMap::new(), rotation: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a permit. Dropping the future leaves the queue, or returns the permit if it was just granted.
    pub async fn acquire(&self, app: u128) -> Turn {
        let (ticket, receiver) = {
            let mut state = self.lock();
            // Apps that wait may not have one now, so this overtakes only waiters of apps that hold more.
            if state.take(app) {
                return Turn { turns: self.clone(), app };
            }
            state.enqueue(app)
        };
        let _entry = QueueEntry { turns: self, app, ticket };
        // The sender exists until it has sent a permit, or until `_entry` is dropped at the end of this function.
        receiver.await.unwrap_or_else(|_| unreachable!("only the waiter itself leaves the queue"))
    }

    fn release(&self, app: u128) {
        let mut state = self.lock();
        state.free += 1;
        if let Some(known) = state.apps.get_mut(&app) {
            known.held -= 1;
        }
        state.forget_if_idle(app);
        let mut granted = Vec::new();
        while let Some((app, waiter)) = state.next() {
            granted.push((app, waiter));
        }
        drop(state);
        for (app, waiter) in granted {
            // If the waiter is gone, this drops the permit, which returns it: so not while holding the lock.
            let _ = waiter.send(Turn { turns: self.clone(), app });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a permit for `app`, if it may have one.
    fn take(&mut self, app: u128) -> bool {
        let held = self.apps.get(&app).map_or(0, |it| it.held);
        if self.free <= held {
            return false;
        }
        self.free -= 1;
        self.apps.entry(app).or_default().held += 1;
        true
    }

    fn enqueue(&mut self, app: u128) -> (u64, oneshot::Receiver<Turn>) {
        let (sender, receiver) = oneshot::channel();
        self.last_ticket += 1;
        let known = self.apps.entry(app).or_default();
        if known.waiting.is_empty() {
            self.rotation.push_back(app);
        }
        known.waiting.insert(self.last_ticket, sender);
        (self.last_ticket, receiver)
    }

    /// Takes a permit for the next waiter whose app may have one.
    fn next(&mut self) -> Option<(u128, oneshot::Sender<Turn>)> {
        for index in 0..self.rotation.len() {
            let app = self.rotation[index];
            if !self.take(app) {
                continue;
            }
            self.rotation.remove(index);
            let known = self.apps.get_mut(&app)?;
            let (_, waiter) = known.waiting.pop_first()?;
            if !known.waiting.is_empty() {
                self.rotation.push_back(app);
            }
            return Some((app, waiter));
        }
        None
    }

    fn cancel(&mut self, app: u128, ticket: u64) {
        if let Some(known) = self.apps.get_mut(&app)
            && known.waiting.remove(&ticket).is_some()
            && known.waiting.is_empty()
        {
            self.rotation.retain(|it| *it != app);
            self.forget_if_idle(app);
        }
    }

    fn forget_if_idle(&mut self, app: u128) {
        if self.apps.get(&app).is_some_and(|it| it.held == 0 && it.waiting.is_empty()) {
            self.apps.remove(&app);
        }
    }
}

/// A waiter's entry in the queue; dropping it removes the waiter.
struct QueueEntry<'a> {
    turns: &'a Turns,
    app: u128,
    ticket: u64,
}

impl Drop for QueueEntry<'_> {
    fn drop(&mut self) {
        self.turns.lock().cancel(self.app, self.ticket);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.release(self.app);
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Turns").field("free", &state.free).field("apps", &state.apps.len()).finish()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("app", &self.app).finish_non_exhaustive()
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

    /// Polls the future once; returns its output if it is ready.
    fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// All permits that the app gets without waiting.
    fn fill(turns: &Turns, app: u128) -> Vec<Turn> {
        std::iter::from_fn(|| poll_once(pin!(turns.acquire(app)))).collect()
    }

    type Waiting<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    /// Waiters that have been polled once and are pending.
    fn wait(turns: &Turns, app: u128, count: usize) -> Vec<Waiting<'_>> {
        let mut all: Vec<Waiting<'_>> = Vec::new();
        for _ in 0..count {
            let mut one: Waiting<'_> = Box::pin(turns.acquire(app));
            assert!(poll_once(one.as_mut()).is_none(), "app {app} must wait");
            all.push(one);
        }
        all
    }

    /// The permits of the waiters that have one by now; the others remain in `waiting`.
    fn served(waiting: &mut Vec<Waiting<'_>>) -> Vec<Turn> {
        let mut turns = Vec::new();
        waiting.retain_mut(|it| match poll_once(it.as_mut()) {
            Some(turn) => {
                turns.push(turn);
                false
            }
            None => true,
        });
        turns
    }

    fn assert_idle(turns: &Turns, permits: usize) {
        let state = turns.lock();
        assert_eq!((state.free, state.apps.len(), state.rotation.len()), (permits, 0, 0));
    }

    #[test]
    fn one_app_leaves_half_and_each_further_app_leaves_some() {
        let turns = Turns::new(16);
        let all: Vec<_> = (1..=6).map(|app| fill(&turns, app)).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [8, 4, 2, 1, 1, 0]);
        drop(all);
        assert_idle(&turns, 16);
        for permits in [0, 1] {
            assert_eq!(fill(&Turns::new(permits), 1).len(), 1);
        }
        assert_eq!(fill(&Turns::new(3), 1).len(), 2);
    }

    #[test]
    fn a_new_app_gets_a_permit_at_once_despite_many_waiters() {
        let turns = Turns::new(8);
        let held = fill(&turns, 1);
        let waiting = wait(&turns, 1, 1000);
        let other = fill(&turns, 2);
        assert_eq!((held.len(), other.len()), (4, 2));
        drop((waiting, held, other));
        assert_idle(&turns, 8);
    }

    #[test]
    fn an_app_with_many_permits_yields_to_others() {
        let turns = Turns::new(8);
        let mut held = fill(&turns, 1);
        let mut waiting = wait(&turns, 1, 10);
        let mut others: Vec<_> = (2..=5).flat_map(|app| fill(&turns, app)).collect();
        assert_eq!(others.len(), 4);
        let mut sixth = wait(&turns, 6, 1);
        // The first permit to be returned goes to the app that has none, although another has waited longer.
        held.pop();
        assert!(served(&mut waiting).is_empty());
        others.extend(served(&mut sixth));
        assert_eq!(others.len(), 5);
        drop(held);
        let mut again = served(&mut waiting);
        assert_eq!(again.len(), 2, "of three that were returned");
        drop(others);
        again.extend(served(&mut waiting));
        assert_eq!(again.len(), 4, "alone again, it has half");
        drop((waiting, again));
        assert_idle(&turns, 8);
    }

    #[test]
    fn apps_are_served_round_robin_and_waiters_of_an_app_in_order() {
        let turns = Turns::new(1);
        let mut turn = fill(&turns, 9);
        let order = [1, 1, 1, 1, 2, 3, 3];
        let mut waiting: Vec<(usize, Waiting<'_>)> =
            order.iter().enumerate().map(|(i, app)| (i, wait(&turns, *app, 1).remove(0))).collect();
        let mut seen = Vec::new();
        while !waiting.is_empty() {
            turn.clear();
            let index = waiting.iter_mut().position(|(_, it)| match poll_once(it.as_mut()) {
                Some(got) => {
                    turn.push(got);
                    true
                }
                None => false,
            });
            seen.push(waiting.remove(index.expect("a waiter has been served")).0);
        }
        assert_eq!(seen, [0, 4, 5, 1, 6, 2, 3]);
        drop(turn);
        assert_idle(&turns, 1);
    }

    #[test]
    fn a_canceled_waiter_blocks_no_other() {
        let turns = Turns::new(1);
        let turn = fill(&turns, 9);
        let mut first = wait(&turns, 1, 3);
        let mut second = wait(&turns, 2, 1);
        // Canceled before it is granted a permit …
        drop(first.remove(0));
        drop(turn);
        // … and after, before it has been polled.
        drop(first.remove(0));
        let turn = served(&mut second);
        assert_eq!(turn.len(), 1, "the permit of the canceled waiter was passed on");
        drop(turn);
        assert_eq!(served(&mut first).len(), 1);
        drop(first);
        assert_idle(&turns, 1);
    }

    #[test]
    fn canceling_all_waiters_leaves_nothing() {
        let turns = Turns::new(4);
        let held = fill(&turns, 1);
        let waiting: Vec<_> = (1..50).flat_map(|app| wait_some(&turns, app)).collect();
        drop(held);
        drop(waiting);
        assert_idle(&turns, 4);
    }

    /// Polls three waiters once; returns those that are pending.
    fn wait_some(turns: &Turns, app: u128) -> Vec<Waiting<'_>> {
        (0..3)
            .filter_map(|_| {
                let mut one: Waiting<'_> = Box::pin(turns.acquire(app));
                poll_once(one.as_mut()).is_none().then_some(one)
            })
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wakeup_is_lost_and_no_share_exceeded_across_threads() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        const PERMITS: usize = 6;
        let turns = Turns::new(PERMITS);
        let held = Arc::new([const { AtomicUsize::new(0) }; 5]);
        let tasks: Vec<_> = (0..400_usize)
            .map(|i| {
                let (turns, held) = (turns.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    let app = i % held.len();
                    let acquire = turns.acquire(app as u128);
                    if i % 7 == 0 {
                        // Some are canceled after a few yields, in any state.
                        tokio::select! {
                            biased;
                            _ = acquire => {}
                            () = async { for _ in 0..i % 5 { tokio::task::yield_now().await } } => {}
                        }
                        return;
                    }
                    let turn = acquire.await;
                    assert!(held[app].fetch_add(1, Ordering::SeqCst) < PERMITS / 2);
                    tokio::task::yield_now().await;
                    held[app].fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
        assert_idle(&turns, PERMITS);
    }
}
