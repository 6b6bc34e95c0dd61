//! The ports on SQLite and files, shared by the functions of one machine, and the platform's work between them: delivering
//! messages to the worker, and invoking the sweeper.

use crate::{
    Error,
    backend::Upkeep,
    env::{BadVariable, Env},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use runyard_embedded::{Apps, Embedded, Keys, Options, Queue};
use runyard_runs::{
    AccessKey, AppId, AppStore, BoxError, Clock, Credential, Engine, Ids, KeyStore, RunId, Scope, StoreError,
    Timestamp,
};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::spawn_blocking, time::sleep};
use uuid::Uuid;

/// The default app if none is set and this one exists: it shows the most features.
const EXAMPLE_APP: &str = "ticket-triage";

/// How often the queue delivers a message that fails, and the time in between; after that the sweeper finds the due run.
const MAX_ATTEMPTS: u32 = 5;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A key of the default app's organization, for a machine whose API is not reachable from elsewhere.
const DEV_KEY: &str = "RUNYARD_DEV_KEY";

/// How often the sweeper is invoked: as by the schedule on AWS.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// The settings of the embedded backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    apps: PathBuf,
    data: PathBuf,
    worker: Option<Uri>,
    sweeper: Option<Uri>,
    dev_key: Option<String>,
}

impl Location {
    pub(crate) fn from_env(env: &Env) -> Result<Self, BadVariable> {
        let beside = |function: &str| {
            // `cargo lambda watch` sets `http://host:port/.rt/this-function`; Lambda itself sets no path.
            let api = env.text("AWS_LAMBDA_RUNTIME_API")?;
            let (authority, _this) = api.strip_prefix("http://").unwrap_or(&api).split_once('/')?;
            format!("http://{authority}/2015-03-31/functions/{function}/invocations").parse().ok()
        };
        let url = "the URL that invokes the function";
        Ok(Self {
            apps: env.text("RUNYARD_APPS").unwrap_or_else(|| "apps".to_owned()).into(),
            data: env.text("RUNYARD_DATA").unwrap_or_else(|| ".runyard".to_owned()).into(),
            worker: env.parsed("RUNYARD_WORKER_URL", url)?.or_else(|| beside("worker")),
            sweeper: env.parsed("RUNYARD_SWEEPER_URL", url)?.or_else(|| beside("sweeper")),
            dev_key: match env.text(DEV_KEY) {
                Some(key) if Credential::parse(&key).is_none() => {
                    return Err(BadVariable::new(
                        DEV_KEY,
                        "is not a key: it must be ry_<16 hex digits>_<64 hex digits>",
                    ));
                }
                key => key,
            },
        })
    }
}

/// An opened data directory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Opened {
    embedded: Embedded,
    apps: Arc<Apps>,
    sweeper: Option<Uri>,
    keys: Arc<dyn KeyStore>,
}

impl Opened {
    pub(crate) async fn open(
        place: Location,
        default_app: Option<String>,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, Error> {
        let Location { apps: folder, data, worker, sweeper, dev_key } = place;
        let runtime = Handle::current();
        let opened = spawn_blocking(move || {
            // Each function is a separate process that opens it, and handles one request at a time.
            let options = Options { readers: 1, ..Options::default() };
            let embedded = Embedded::open(&data, clock, &*ids, options)?;
            let example_app = || {
                let (apps, _) = Apps::check(&folder)?;
                let exists = apps.iter().any(|app| app.name == EXAMPLE_APP);
                Ok::<_, Error>(exists.then(|| EXAMPLE_APP.to_owned()))
            };
            let default_app = if default_app.is_some() { default_app } else { example_app()? };
            let check = move |app: &_| runtime.block_on(engine.check_app(app)).map(drop);
            let (apps, problems) = Apps::open_checked(&folder, &embedded, default_app, Box::new(check))?;
            for problem in problems {
                tracing::error!("{problem} (the app is not served)");
            }
            Ok::<_, Error>((embedded, Arc::new(apps)))
        });
        let (embedded, apps) = opened.await.map_err(Error::Interrupted)??;
        if let Some(worker) = worker {
            tokio::spawn(deliver(embedded.queue(), worker));
        } else {
            tracing::info!("RUNYARD_WORKER_URL is not set: background runs wait");
        }
        let default = apps.by_host("").await?;
        let keys: Arc<dyn KeyStore> = match dev_key.as_deref().and_then(Credential::parse).zip(default) {
            Some((key, app)) => {
                let scope = Scope { organization: app.organization, project: None };
                Arc::new(DevKey(key.key(scope, Timestamp::default()), embedded.keys()))
            }
            None => embedded.keys(),
        };
        Ok(Self { embedded, apps, sweeper, keys })
    }

    pub(crate) fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::clone(&self.keys)
    }

    pub(crate) fn embedded(&self) -> &Embedded {
        &self.embedded
    }

    pub(crate) fn apps(&self) -> Arc<Apps> {
        Arc::clone(&self.apps)
    }
}

/// A key that is not stored, in addition to the stored keys.
struct DevKey(AccessKey, Arc<Keys>);

#[async_trait]
impl KeyStore for DevKey {
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        if id == self.0.id { Ok(Some(self.0.clone())) } else { self.1.find(id).await }
    }
}

#[async_trait]
impl Upkeep for Opened {
    async fn before_sweep(&self) -> Result<(), StoreError> {
        self.embedded.suspect_dead_workers().await.map(drop)
    }

    fn tick(&self) {
        let Some(sweeper) = self.sweeper.clone() else { return };
        tokio::spawn(async move {
            let client = client();
            loop {
                sleep(SWEEP_INTERVAL).await;
                let tick = json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} });
                if let Err(error) = invoke(&client, &sweeper, &tick).await {
                    tracing::warn!(%error, "sweeper unavailable");
                }
            }
        });
    }
}

/// Delivers the messages that this process enqueues to the worker function, as SQS does.
async fn deliver(queue: Arc<Queue>, worker: Uri) {
    let client = client();
    loop {
        let (app, run) = queue.receive().await;
        tokio::spawn(deliver_one(client.clone(), worker.clone(), app, run));
    }
}

async fn deliver_one(client: Client<HttpConnector, Full<Bytes>>, worker: Uri, app: AppId, run: RunId) {
    for attempt in 1..=MAX_ATTEMPTS {
        match invoke(&client, &worker, &batch(app, run, attempt)).await {
            Ok(answer) if has_failed(&answer) => {
                tracing::warn!(%run, attempt, %answer, "worker failed a message");
            }
            Ok(_) => return,
            Err(error) => tracing::warn!(%run, attempt, %error, "worker unavailable"),
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// A batch of one message, as SQS delivers it.
fn batch(app: AppId, run: RunId, attempt: u32) -> Value {
    // On SQS each message has its own id; here only the format matters.
    let id = Uuid::new_v5(&run.0, &attempt.to_be_bytes());
    json!({
        "Records": [{
            "messageId": id,
            "receiptHandle": id.simple().to_string(),
            "body": run.to_string(),
            "attributes": {
                "ApproximateReceiveCount": attempt.to_string(),
                "MessageGroupId": app.to_string(),
            },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:local:000000000000:runs",
            "awsRegion": "local",
        }]
    })
}

fn has_failed(answer: &Value) -> bool {
    answer["errorType"].is_string() || answer["batchItemFailures"].as_array().is_some_and(|it| !it.is_empty())
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Invokes a function and returns its response.
async fn invoke(
    client: &Client<HttpConnector, Full<Bytes>>,
    url: &Uri,
    event: &Value,
) -> Result<Value, BoxError> {
    let request = Request::post(url).header("content-type", "application/json");
    let response = client.request(request.body(Full::from(event.to_string()))?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::Location;
    use crate::env::Env;

    #[test]
    fn the_worker_is_found_beside_this_function() {
        let place =
            Location::from_env(&Env::of(&[("AWS_LAMBDA_RUNTIME_API", "http://127.0.0.1:9000/.rt/api")]))
                .unwrap();
        let url = "http://127.0.0.1:9000/2015-03-31/functions/worker/invocations";
        assert_eq!(place.worker.unwrap().to_string(), url);
        let lone = Location::from_env(&Env::of(&[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")])).unwrap();
        assert_eq!(lone.worker, None);
        let env = Env::of(&[("RUNYARD_WORKER_URL", "http://127.0.0.1:1/x"), ("RUNYARD_DATA", "/tmp/d")]);
        let given = Location::from_env(&env).unwrap();
        assert_eq!(given.worker.unwrap().path(), "/x");
        assert_eq!(given.data.to_str(), Some("/tmp/d"));
    }
}
