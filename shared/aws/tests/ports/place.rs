//! A separate stack for one test, with a clock that the test moves.

use crate::fixture::Stack;
use runyard_aws::{Aws, Clients, Config};
use runyard_conformance::make::NOW;
use runyard_runs::{Clock, SystemIds, Timestamp};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// The ports under test, with the clients, configuration and clock that they use.
pub(crate) struct Place {
    pub(crate) aws: Aws,
    pub(crate) clients: Clients,
    pub(crate) config: Config,
    pub(crate) clock: Arc<Hand>,
}

/// A clock that stands still until it is moved.
pub(crate) struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

impl Hand {
    pub(crate) fn forward(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Place {
    /// Ports on an empty stack.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let clock = Arc::new(Hand(AtomicI64::new(NOW.0)));
        let Stack { mut config, clients, .. } = Stack::new(clock.clone()).await;
        change(&mut config);
        let aws = Aws::with_clients(config.clone(), clients.clone(), clock.clone(), Arc::new(SystemIds));
        Self { aws, clients, config, clock }
    }

    /// The ports of another process on the same stack.
    pub(crate) fn another(&self) -> Aws {
        let (config, clients) = (self.config.clone(), self.clients.clone());
        Aws::with_clients(config, clients, self.clock.clone(), Arc::new(SystemIds))
    }

    /// The keys of all objects in the bucket.
    pub(crate) async fn objects(&self) -> Vec<String> {
        let list = self.clients.s3.list_objects_v2().bucket(&self.config.bucket).send().await.unwrap();
        list.contents.unwrap_or_default().into_iter().map(|object| object.key.unwrap()).collect()
    }
}

/// Waits until a condition holds; panics after 30 s.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within 30 s");
}
