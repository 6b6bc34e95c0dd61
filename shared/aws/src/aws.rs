use crate::{
    Apps, Clients, Config, Deployments, Files, Keys, Memories, Queue, Runs, Secrets, Streams, Usage,
    usage::Counts,
};
use runyard_runs::{Clock, Ids};
use std::sync::Arc;

/// The ports on one stack. Cheap to clone.
#[derive(Clone)]
pub struct Aws {
    home: Arc<Shared>,
    runs: Arc<Runs>,
    files: Arc<Files>,
    queue: Arc<Queue>,
    apps: Arc<Apps>,
    keys: Arc<Keys>,
    secrets: Arc<Secrets>,
}

/// The state that all ports share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clients: Clients,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) counts: Counts,
}

impl Aws {
    /// Uses the resources that `config` names. Creates clients, but connects to nothing: a missing resource shows at
    /// the first call.
    pub async fn connect(config: Config, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let clients = Clients::connect(config.emulator.as_ref()).await;
        Self::with_clients(config, clients, clock, ids)
    }

    /// The same with existing clients.
    pub fn with_clients(config: Config, clients: Clients, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let counts = Counts::new(&clients, &config.table, Arc::clone(&clock));
        let home = Arc::new(Shared { config, clients, clock, ids, counts });
        Self {
            runs: Arc::new(Runs::new(Arc::clone(&home))),
            files: Arc::new(Files::new(Arc::clone(&home))),
            queue: Arc::new(Queue::new(Arc::clone(&home))),
            apps: Arc::new(Apps::new(Arc::clone(&home))),
            keys: Arc::new(Keys::new(Arc::clone(&home))),
            secrets: Arc::new(Secrets::new(Arc::clone(&home))),
            home,
        }
    }

    /// Opens a connection to the bucket and one to the queue, concurrently, so that the first run that needs one does
    /// not wait for it. Responses are ignored. The connection to the table is opened by the first read of it.
    pub async fn warm(&self) {
        tokio::join!(self.runs.warm(), self.queue.warm());
    }

    /// Keeps runs.
    pub fn runs(&self) -> Arc<Runs> {
        Arc::clone(&self.runs)
    }

    /// Keeps files.
    pub fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    /// Delivers runs to workers.
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Finds deployed apps.
    pub fn apps(&self) -> Arc<Apps> {
        Arc::clone(&self.apps)
    }

    /// Keeps access keys.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }

    /// Keeps agents' memory.
    pub fn memories(&self) -> Arc<Memories> {
        Arc::new(Memories::new(Arc::clone(&self.home)))
    }

    /// Counts open streams.
    pub fn streams(&self) -> Arc<Streams> {
        Arc::new(Streams::new(Arc::clone(&self.home)))
    }

    /// Counts the bytes that apps have stored.
    pub fn usage(&self) -> Arc<Usage> {
        Arc::new(Usage::new(Arc::clone(&self.home)))
    }

    /// Reads the secrets that apps name.
    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    /// Deploys apps.
    pub fn deployments(&self) -> Deployments {
        Deployments::new(Arc::clone(&self.home))
    }
}
