//! The reader threads.

use rusqlite::Connection;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// A few threads with one connection each, which execute jobs in the order of arrival.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Readers {
    pub(crate) fn start(connections: Vec<Connection>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = connections
            .into_iter()
            .map(|connection| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name("runyard-read".to_owned())
                    .spawn(move || shared.serve(&connection))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { shared, threads })
    }

    pub(crate) fn send(&self, job: Job) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.push_back(job);
        self.shared.more.notify_one();
    }
}

impl Shared {
    fn serve(&self, connection: &Connection) {
        while let Some(job) = self.next() {
            job(connection);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
