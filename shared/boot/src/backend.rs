//! The ports of a backend, and the use cases on them.

use crate::{
    engine,
    env::{BadVariable, Env},
};
use async_trait::async_trait;
#[cfg(feature = "aws")]
use runyard_aws::{AppsWithSecrets, Aws};
#[cfg(feature = "aws")]
use runyard_engine::ReadEnv;
use runyard_runs::{
    AppStore, Clock, FileStore, Ids, KeyStore, OpenStreams, RunService, StoreError, SystemClock, SystemIds,
    Timestamp,
    service::{Ports, Swept},
};
use std::sync::Arc;

/// Due runs that one batch of a sweep checks.
const BATCH: usize = 256;

/// The selected backend, and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    place: Location,
    /// Hosts that every app may call, even if they resolve to private addresses.
    allow_hosts: Vec<String>,
    /// The app that is served on a host that selects no app.
    default_app: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    #[cfg(feature = "aws")]
    Aws(runyard_aws::Config),
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Location),
}

/// Why a backend cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[cfg(feature = "embedded")]
    #[error(transparent)]
    Embedded(#[from] runyard_embedded::Error),
    /// The apps cannot be read.
    #[cfg(feature = "embedded")]
    #[error(transparent)]
    Apps(#[from] runyard_embedded::AppsError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that opened the backend was canceled or panicked.
    #[error("opening the backend was interrupted: {0}")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// | variable | meaning |
    /// | --- | --- |
    /// | `RUNYARD_BACKEND` | `aws`, which is the default, or `embedded` |
    /// | `RUNYARD_TABLE`, `RUNYARD_BUCKET`, `RUNYARD_QUEUE_URL`, `RUNYARD_APP_SHARDS` | `aws`: the resources of the stack |
    /// | `RUNYARD_ALLOW_HOSTS` | hosts that every app may call although they resolve to private addresses |
    /// | `RUNYARD_DEFAULT_APP` | the app that is served on a host that selects no app |
    /// | `RUNYARD_APPS`, `RUNYARD_DATA` | `embedded`: the folder of apps (default `apps`), the data directory (default `.runyard`) |
    /// | `RUNYARD_DEV_KEY` | `embedded`: an access key of the default app's organization that is not stored |
    /// | `RUNYARD_WORKER_URL`, `RUNYARD_SWEEPER_URL` | `embedded`: the URLs that invoke these functions; next to this one by default |
    pub fn from_env(env: &Env) -> Result<Self, BadVariable> {
        const BACKEND: &str = "RUNYARD_BACKEND";
        let place = match env.text(BACKEND).as_deref().unwrap_or("aws") {
            #[cfg(feature = "aws")]
            "aws" => {
                Location::Aws(runyard_aws::Config::from_vars(&|name| env.text(name)).map_err(bad_variable)?)
            }
            #[cfg(feature = "embedded")]
            "embedded" => Location::Embedded(crate::embedded::Location::from_env(env)?),
            #[cfg(not(feature = "embedded"))]
            "embedded" => {
                let problem = "is \"embedded\", which this executable does not include: build it with --features embedded";
                return Err(BadVariable::new(BACKEND, problem));
            }
            other => {
                return Err(BadVariable::new(BACKEND, format!("is {other:?}, and must be aws or embedded")));
            }
        };
        Ok(Self {
            place,
            allow_hosts: env.list("RUNYARD_ALLOW_HOSTS"),
            default_app: env.text("RUNYARD_DEFAULT_APP"),
        })
    }
}

#[cfg(feature = "aws")]
fn bad_variable(error: runyard_aws::ConfigError) -> BadVariable {
    match error {
        runyard_aws::ConfigError::Missing { name, what } => {
            BadVariable::new(name, format!("is not set: it names {what}"))
        }
        runyard_aws::ConfigError::Bad { name, value, wanted } => {
            BadVariable::new(name, format!("is {value:?}, and must be {wanted}"))
        }
    }
}

/// A backend with an engine. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    /// The use cases.
    pub service: RunService,
    /// Finds apps.
    pub apps: Arc<dyn AppStore>,
    /// Finds access keys.
    pub keys: Arc<dyn KeyStore>,
    /// Stores files.
    pub files: Arc<dyn FileStore>,
    /// Counts open streams.
    pub streams: Arc<dyn OpenStreams>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Generates ids.
    pub ids: Arc<dyn Ids>,
    upkeep: Option<Arc<dyn Upkeep>>,
}

/// The platform's work between the functions, for a backend that has no platform.
#[async_trait]
pub(crate) trait Upkeep: Send + Sync {
    /// Marks runs as due that the sweeper would not find, because their workers died.
    async fn before_sweep(&self) -> Result<(), StoreError>;

    /// Starts to invoke the sweeper every minute.
    fn tick(&self);
}

impl Backend {
    /// Opens the backend and its connections.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        match config.place {
            #[cfg(feature = "aws")]
            Location::Aws(place) => {
                let aws = Aws::connect(place, Arc::clone(&clock), Arc::clone(&ids)).await;
                let apps: Arc<dyn AppStore> = Arc::new(AppsWithSecrets::new(aws.apps(), aws.secrets()));
                let secrets = aws.secrets();
                // A secret of the app takes precedence: a variable of this process may have the same name by coincidence.
                let read_env: ReadEnv = Arc::new(move |app, name| match secrets.of(app, name)? {
                    Some(secret) => Ok(Some(secret.reveal().to_owned())),
                    None => engine::of_process(app, name),
                });
                let files: Arc<dyn FileStore> = aws.files();
                let (keys, streams) = (aws.keys(), aws.streams());
                let engine = engine::start_with(engine::Reach::Listed, config.allow_hosts, read_env);
                engine.remember_in(aws.memories());
                let service = RunService::new(Ports {
                    runs: aws.runs(),
                    files: Arc::clone(&files),
                    usage: aws.usage(),
                    queue: aws.queue(),
                    apps: Arc::clone(&apps),
                    engine,
                    clock: Arc::clone(&clock),
                    ids: Arc::clone(&ids),
                });
                // In the background: the first request that needs a connection finds it open.
                tokio::spawn(async move { aws.warm().await });
                // The first request finds an open connection to the table, and the default app in the cache.
                if let Err(error) = apps.by_host("").await {
                    tracing::warn!(%error, "table unavailable at the start");
                }
                Ok(Self { service, apps, keys, files, streams, clock, ids, upkeep: None })
            }
            #[cfg(feature = "embedded")]
            Location::Embedded(place) => {
                let engine = engine::start(engine::Reach::Loopback, config.allow_hosts);
                let check: Arc<dyn runyard_runs::Engine> = Arc::<runyard_engine::Engine>::clone(&engine);
                let opened = crate::embedded::Opened::open(
                    place,
                    config.default_app,
                    check,
                    Arc::clone(&clock),
                    Arc::clone(&ids),
                )
                .await?;
                let apps: Arc<dyn AppStore> = opened.apps();
                let embedded = opened.embedded();
                engine.remember_in(embedded.memories());
                let files: Arc<dyn FileStore> = embedded.files();
                let service = RunService::new(Ports {
                    runs: embedded.runs(),
                    files: Arc::clone(&files),
                    usage: embedded.usage(),
                    queue: embedded.queue(),
                    apps: Arc::clone(&apps),
                    engine,
                    clock: Arc::clone(&clock),
                    ids: Arc::clone(&ids),
                });
                let keys = opened.keys();
                let streams = Arc::new(runyard_runs::ProcessStreams::default());
                Ok(Self { service, apps, keys, files, streams, clock, ids, upkeep: Some(Arc::new(opened)) })
            }
        }
    }

    /// Sweeps all due runs; stops after the first batch that ends at or after `until`.
    pub async fn sweep(&self, until: Timestamp) -> Result<Swept, StoreError> {
        if let Some(upkeep) = &self.upkeep {
            upkeep.before_sweep().await?;
        }
        let mut total = Swept::default();
        loop {
            let swept = self.service.sweep(BATCH).await?;
            total.looked_at += swept.looked_at;
            total.requeued += swept.requeued;
            total.failed += swept.failed;
            total.deleted += swept.deleted;
            // After a full batch, more runs may be due: thousands after an outage.
            if swept.looked_at < BATCH || self.clock.now() >= until {
                return Ok(total);
            }
        }
    }

    /// Starts to invoke the sweeper every minute, if no schedule of a platform does.
    pub fn tick(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.tick();
        }
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use super::{Backend, Config, Location};
    use crate::env::Env;
    use runyard_aws::Emulator;
    use std::{sync::Arc, time::Duration};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::{Barrier, mpsc},
    };

    const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    /// Sends the head of one request to `heads`, and answers it once the barrier is full.
    async fn refuse(mut client: TcpStream, together: Arc<Barrier>, heads: mpsc::UnboundedSender<String>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("a request"));
        }
        heads.send(String::from_utf8_lossy(&head).to_ascii_lowercase()).expect("the test listens");
        together.wait().await;
        client.write_all(REFUSAL).await.expect("the client listens");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_to_table_bucket_and_queue_are_opened_at_the_same_time() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heads, mut requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let together = Arc::new(Barrier::new(3));
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(refuse(client, Arc::clone(&together), heads.clone()));
            }
        });
        let queue_url = format!("{url}/000000000000/runs");
        let variables =
            [("RUNYARD_TABLE", "table"), ("RUNYARD_BUCKET", "bucket"), ("RUNYARD_QUEUE_URL", &*queue_url)];
        let mut config = Config::from_env(&Env::of(&variables)).unwrap();
        #[allow(
            irrefutable_let_patterns,
            clippy::allow_attributes,
            reason = "irrefutable without the feature `embedded`"
        )]
        let Location::Aws(place) = &mut config.place else { panic!("{config:?}") };
        place.emulator = Some(Emulator { dynamodb: url.clone(), others: url });
        let opening = tokio::spawn(Backend::open(config));
        let mut received = Vec::new();
        for _ in 0..3 {
            let request = tokio::time::timeout(Duration::from_secs(30), requests.recv()).await;
            received.push(request.expect("all three get a request before one has answered").unwrap());
        }
        for what in [
            "x-amz-target: dynamodb_",
            "x-amz-target: amazonsqs.getqueueattributes",
            "head /bucket/runs/none ",
        ] {
            assert_eq!(
                received.iter().filter(|head| head.contains(what)).count(),
                1,
                "{what}: {received:#?}"
            );
        }
        assert!(opening.await.unwrap().is_ok(), "a process starts even if the table refuses requests");
    }
}
