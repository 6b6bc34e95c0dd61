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

/// Due runs that are looked at in one batch.
const BATCH: usize = 256;

/// Which backend, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    place: Place,
    /// Hosts that every app may call, wherever they resolve to.
    allow_hosts: Vec<String>,
    /// The app that answers on a host that names none.
    default_app: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    #[cfg(feature = "aws")]
    Aws(runyard_aws::Config),
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Place),
}

/// Why there is no backend.
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
    /// It was given up in the middle.
    #[error("opening the backend broke off: {0}")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl Config {
    /// What the environment says.
    ///
    /// | variable | meaning |
    /// | --- | --- |
    /// | `RUNYARD_BACKEND` | `aws`, which is the default, or `embedded` |
    /// | `RUNYARD_TABLE`, `RUNYARD_BUCKET`, `RUNYARD_QUEUE_URL`, `RUNYARD_APP_SHARDS` | `aws`: what the stack made |
    /// | `RUNYARD_ALLOW_HOSTS` | hosts that every app may call although they resolve to private addresses |
    /// | `RUNYARD_DEFAULT_APP` | the app that answers on a host that names none |
    /// | `RUNYARD_APPS`, `RUNYARD_DATA` | `embedded`: the folder of apps (`apps`), the folder that keeps everything (`.runyard`) |
    /// | `RUNYARD_DEV_KEY` | `embedded`: an access key to the default app's organization that is stored nowhere |
    /// | `RUNYARD_WORKER_URL`, `RUNYARD_SWEEPER_URL` | `embedded`: where these functions are invoked; next to this one by default |
    pub fn from_env(env: &Env) -> Result<Self, BadVariable> {
        const BACKEND: &str = "RUNYARD_BACKEND";
        let place = match env.text(BACKEND).as_deref().unwrap_or("aws") {
            #[cfg(feature = "aws")]
            "aws" => {
                Place::Aws(runyard_aws::Config::from_vars(&|name| env.text(name)).map_err(bad_variable)?)
            }
            #[cfg(feature = "embedded")]
            "embedded" => Place::Embedded(crate::embedded::Place::from_env(env)?),
            #[cfg(not(feature = "embedded"))]
            "embedded" => {
                let problem = "is \"embedded\", which this executable was built without: build it with --features embedded";
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

/// A backend, with the engine plugged in. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    /// The use cases.
    pub service: RunService,
    /// Finds apps.
    pub apps: Arc<dyn AppStore>,
    /// Finds access keys.
    pub keys: Arc<dyn KeyStore>,
    /// Keeps files.
    pub files: Arc<dyn FileStore>,
    /// Counts open streams.
    pub streams: Arc<dyn OpenStreams>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
    upkeep: Option<Arc<dyn Upkeep>>,
}

/// What a platform does between the functions, for a backend without a platform.
#[async_trait]
pub(crate) trait Upkeep: Send + Sync {
    /// Makes due what the sweeper could not know of.
    async fn before_sweep(&self) -> Result<(), StoreError>;

    /// Has the sweeper look each minute.
    fn tick(&self);
}

impl Backend {
    /// Opens it, and its connections.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        match config.place {
            #[cfg(feature = "aws")]
            Place::Aws(place) => {
                let aws = Aws::connect(place, Arc::clone(&clock), Arc::clone(&ids)).await;
                let apps: Arc<dyn AppStore> = Arc::new(AppsWithSecrets::new(aws.apps(), aws.secrets()));
                let secrets = aws.secrets();
                // A secret is the app's own: the variable of this process has its name only by chance.
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
                // Nobody waits for these; the first request that needs one finds it.
                tokio::spawn(async move { aws.warm().await });
                // The first request finds a connection to the table, and the app that most ask for.
                if let Err(error) = apps.by_host("").await {
                    tracing::warn!(%error, "the table did not answer at the start");
                }
                Ok(Self { service, apps, keys, files, streams, clock, ids, upkeep: None })
            }
            #[cfg(feature = "embedded")]
            Place::Embedded(place) => {
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

    /// Looks at everything that is due, until nothing is or at `until`.
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
            // A full batch means that more is due: after an outage there may be thousands.
            if swept.looked_at < BATCH || self.clock.now() >= until {
                return Ok(total);
            }
        }
    }

    /// Has the sweeper look each minute, where no platform's schedule does.
    pub fn tick(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.tick();
        }
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use super::{Backend, Config, Place};
    use crate::env::Env;
    use runyard_aws::Emulator;
    use std::{sync::Arc, time::Duration};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::{Barrier, mpsc},
    };

    const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    /// What one request says beside its body. It is answered only once as many others wait as the barrier wants.
    async fn refuse(mut client: TcpStream, together: Arc<Barrier>, told: mpsc::UnboundedSender<String>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("a request"));
        }
        told.send(String::from_utf8_lossy(&head).to_ascii_lowercase()).expect("the test listens");
        together.wait().await;
        client.write_all(REFUSAL).await.expect("the client listens");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_to_table_bucket_and_queue_are_opened_at_the_same_time() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, mut requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let together = Arc::new(Barrier::new(3));
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(refuse(client, Arc::clone(&together), told.clone()));
            }
        });
        let queue_url = format!("{url}/000000000000/runs");
        let variables =
            [("RUNYARD_TABLE", "table"), ("RUNYARD_BUCKET", "bucket"), ("RUNYARD_QUEUE_URL", &*queue_url)];
        let mut config = Config::from_env(&Env::of(&variables)).unwrap();
        #[allow(
            irrefutable_let_patterns,
            clippy::allow_attributes,
            reason = "it is the only place without `embedded`"
        )]
        let Place::Aws(place) = &mut config.place else { panic!("{config:?}") };
        place.emulator = Some(Emulator { dynamodb: url.clone(), others: url });
        let opening = tokio::spawn(Backend::open(config));
        let mut asked = Vec::new();
        for _ in 0..3 {
            let request = tokio::time::timeout(Duration::from_secs(30), requests.recv()).await;
            asked.push(request.expect("all three are asked before one has answered").unwrap());
        }
        for what in [
            "x-amz-target: dynamodb_",
            "x-amz-target: amazonsqs.getqueueattributes",
            "head /bucket/runs/none ",
        ] {
            assert_eq!(asked.iter().filter(|head| head.contains(what)).count(), 1, "{what}: {asked:#?}");
        }
        assert!(opening.await.unwrap().is_ok(), "a process starts also where the table refuses");
    }
}
