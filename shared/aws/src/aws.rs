use crate::{Clients, Config, Runs};
use runyard_runs::{Clock, Ids, RunId, RunStore, StoreError};
use std::sync::Arc;
use uuid::Uuid;

/// The ports on one stack. Cheap to clone.
#[derive(Clone)]
pub struct Aws {
    runs: Arc<Runs>,
}

/// What the ports share.
pub(crate) struct Home {
    pub(crate) config: Config,
    pub(crate) clients: Clients,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

impl Aws {
    /// Uses what `config` names. Makes clients, but no connection: that nothing is there shows at the first call.
    pub async fn connect(config: Config, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let clients = Clients::connect(config.emulator.as_ref()).await;
        Self::with_clients(config, clients, clock, ids)
    }

    /// The same with clients that were made elsewhere.
    pub fn with_clients(config: Config, clients: Clients, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let home = Arc::new(Home { config, clients, clock, ids });
        Self { runs: Arc::new(Runs::new(home)) }
    }

    /// Opens a connection to the table and gets credentials, so that the first run does not wait for either. Whether the
    /// table is there shows too.
    pub async fn warm(&self) -> Result<(), StoreError> {
        self.runs.head(RunId(Uuid::nil())).await.map(drop)
    }

    /// Keeps runs.
    pub fn runs(&self) -> Arc<Runs> {
        Arc::clone(&self.runs)
    }
}
