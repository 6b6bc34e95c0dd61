//! A server on in-memory ports, and a client that checks every response.

use crate::document;
use async_trait::async_trait;
use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use runyard_conformance::{
    memory::{MemoryFiles, MemoryKeys, MemoryQueue, MemoryRuns, MemoryUsage},
    service::{MovedClock, Scripted},
};
use runyard_http::{Config, Http, router};
use runyard_runs::{
    AccessKey, App, AppId, AppStore, Clock, Credential, FileStore, KeyStore, Limits, OrganizationId,
    ProcessStreams, ProjectId, RunService, Scope, StoreError, SystemIds, Timestamp, WorkflowSource,
    service::Ports,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::ServiceExt;
use uuid::Uuid;

/// A server with three apps: `private.test`, `public.test`, and `foreign.test` of another organization.
pub(crate) struct World {
    pub(crate) http: Http,
    pub(crate) router: Router,
    pub(crate) runs: Arc<MemoryRuns>,
    pub(crate) files: Arc<MemoryFiles>,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) clock: Arc<MovedClock>,
    keys: Arc<MemoryKeys>,
    apps: Arc<Apps>,
    /// A key that covers `private.test` and `public.test`.
    pub(crate) key: String,
}

struct Apps(Mutex<Vec<Arc<App>>>);

impl Apps {
    fn all(&self) -> Vec<Arc<App>> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl AppStore for Apps {
    async fn by_host(&self, host: &str) -> Result<Option<Arc<App>>, StoreError> {
        match host {
            "broken.test" => Err(StoreError::Failed("the disk is full of secrets".into())),
            "slow.test" => Err(StoreError::Unknown("the store at 10.0.0.1 timed out".into())),
            "panic.test" => panic!("secrets"),
            host => Ok(self.all().into_iter().find(|app| app.hosts.iter().any(|name| name == host))),
        }
    }

    async fn version(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError> {
        Ok(self.all().into_iter().find(|found| found.id == app && found.version == version))
    }

    async fn list(&self) -> Result<Vec<Arc<App>>, StoreError> {
        Ok(self.all())
    }
}

const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
const PROJECT: ProjectId = ProjectId(Uuid::from_u128(2));

fn app(number: u128, name: &str, organization: OrganizationId) -> Arc<App> {
    Arc::new(App {
        id: AppId(Uuid::from_u128(100 + number)),
        project: PROJECT,
        organization,
        name: name.to_owned(),
        public: name == "public",
        hosts: vec![format!("{name}.test")],
        version: "1".to_owned(),
        workflow: WorkflowSource { file: "test".to_owned(), id: None, text: "".into() },
        limits: Limits { concurrent_runs: 4, input_bytes: 1 << 20, ..Limits::default() },
        retention_days: 1,
        env: Vec::new(),
        secrets: BTreeMap::new(),
        allow_hosts: Vec::new(),
        requirements: BTreeMap::new(),
        prices: BTreeMap::new(),
        cache: None,
    })
}

/// The scope of one project of the organization; the apps belong to project 2.
pub(crate) fn project_scope(project: u128) -> Scope {
    Scope { organization: ORGANIZATION, project: Some(ProjectId(Uuid::from_u128(project))) }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let usage = Arc::<MemoryUsage>::default();
        let files = Arc::new(MemoryFiles::counted_by(&usage));
        Self::counted(config, Arc::clone(&files) as Arc<dyn FileStore>, files, usage)
    }

    /// With another file store; `files` is then not used.
    pub(crate) fn on(config: Config, store: Arc<dyn FileStore>, files: Arc<MemoryFiles>) -> Self {
        Self::counted(config, store, files, Arc::default())
    }

    fn counted(
        config: Config,
        store: Arc<dyn FileStore>,
        files: Arc<MemoryFiles>,
        usage: Arc<MemoryUsage>,
    ) -> Self {
        let keys = Arc::new(MemoryKeys::default());
        let queue = Arc::new(MemoryQueue::default());
        let clock = Arc::new(MovedClock::default());
        let served = Arc::new(Apps(Mutex::new(vec![
            app(1, "private", ORGANIZATION),
            app(2, "public", ORGANIZATION),
            app(3, "foreign", OrganizationId(Uuid::from_u128(9))),
        ])));
        let apps: Arc<dyn AppStore> = Arc::clone(&served) as _;
        let runs = Arc::new(MemoryRuns::default().counted_by(&usage));
        let service = RunService::new(Ports {
            runs: Arc::clone(&runs) as _,
            files: Arc::clone(&store),
            usage,
            queue: Arc::clone(&queue) as _,
            apps: Arc::clone(&apps),
            engine: Arc::new(Scripted::default()),
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(SystemIds),
        });
        let http = Http {
            service,
            apps,
            keys: Arc::clone(&keys) as _,
            files: store,
            streams: Arc::<ProcessStreams>::default(),
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(SystemIds),
            config,
        };
        let mut world = Self {
            router: router(http.clone()),
            http,
            runs,
            files,
            queue,
            clock,
            keys,
            apps: served,
            key: String::new(),
        };
        world.key = world.new_key(Scope { organization: ORGANIZATION, project: None }, |_| {});
        world
    }

    /// Limits the memory of requests and runs to `bytes`.
    pub(crate) fn with_memory(mut self, bytes: usize) -> Self {
        self.http.service = self.http.service.clone().with_memory(bytes);
        self.router = router(self.http.clone());
        self
    }

    /// Creates a key.
    pub(crate) fn new_key(&self, scope: Scope, change: impl FnOnce(&mut AccessKey)) -> String {
        let (credential, mut key) = Credential::generate(&SystemIds, scope, self.clock.now(), None);
        change(&mut key);
        self.keys.insert(key);
        credential.reveal()
    }

    /// Revokes a key.
    pub(crate) async fn revoke(&self, key: &str) {
        let id = key.split('_').nth(1).expect("a key");
        let key = self.keys.find(id).await.expect("the store answers").expect("the key");
        self.keys.insert(AccessKey { revoked_at: Some(self.now()), ..key });
    }

    /// Deploys a changed app; `None` removes it.
    pub(crate) fn change(&self, name: &str, change: impl Fn(App) -> Option<App>) {
        let mut apps = self.apps.0.lock().unwrap();
        let changed = apps.iter().filter_map(|app| {
            if app.name == name { change(App::clone(app)).map(Arc::new) } else { Some(Arc::clone(app)) }
        });
        *apps = changed.collect();
    }

    /// Sends a request without a key to the app `public.test`.
    pub(crate) async fn anonymous(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "public.test");
        let request = request.header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Sends a request with a key to the app `public.test`.
    pub(crate) async fn with_key(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "public.test");
        let request = request.header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {key}"));
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Returns the app `private.test`.
    pub(crate) async fn app(&self) -> Arc<App> {
        self.http.apps.by_host("private.test").await.expect("the store answers").expect("the app")
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Builds a request to the app `private.test` with the key.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "private.test")
            .header("authorization", format!("Bearer {}", self.key))
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.open(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body never breaks").to_bytes();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        answer.is_in_format(&method);
        document::check(&method, &path, &answer);
        answer
    }

    /// Sends a request, and does not read the body.
    pub(crate) async fn open(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.expect("the router never fails")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Creates a sync run of these commands, and returns it.
    pub(crate) async fn run(&self, commands: Value) -> Value {
        let answer = self.post("/v1/runs", &json!({ "input": { "do": commands } })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"].clone()
    }

    /// Lets a worker execute the next run in the queue.
    pub(crate) async fn work_once(&self) {
        let run =
            tokio::time::timeout(Duration::from_mins(1), self.queue.receive()).await.expect("a message");
        self.http.service.work(run).await.expect("the store answers");
    }
}

/// A whole response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the keys of an error's details.
    pub(crate) fn details(&self) -> Vec<String> {
        let error = self.json();
        error["error"]["details"]
            .as_object()
            .map(|details| details.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Checks what is true of every response.
    fn is_in_format(&self, method: &http::Method) {
        let id = self.header("x-request-id");
        assert!(!id.is_empty(), "{self:?}");
        if !self.status.is_client_error() && !self.status.is_server_error() || method == http::Method::HEAD {
            return;
        }
        let body = self.json();
        let error = &body["error"];
        let phrase = self.status.canonical_reason().unwrap();
        assert_eq!(error["message"], phrase);
        assert_eq!(error["code"], phrase.to_lowercase().replace([' ', '-'], "_"));
        assert_eq!(error["request_id"], id);
        assert_eq!(self.header("content-type"), "application/json");
    }
}

/// Returns a multipart body; each part is the rest of its headers after `form-data`, and its content.
pub(crate) fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, content) in parts {
        body.extend_from_slice(
            format!("--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--B--\r\n");
    body
}

pub(crate) const MULTIPART: &str = "multipart/form-data; boundary=B";
