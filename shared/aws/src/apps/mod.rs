//! Deployed apps.

mod deploy;
mod item;

pub use deploy::{Current, DeployError, Deployed, Deployments, Version};

use crate::{
    aws::Shared,
    cache::Cache,
    error::store_error,
    item::{Item, text},
};
use async_trait::async_trait;
use item::{APPS, Pointer, Stored, app_key, by_name, host_key, target, version_key};
use runyard_runs::{App, AppId, AppStore, StoreError};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Number of cached hosts, and of cached hosts on which no app answers.
const CACHED_HOSTS: usize = 1024;

/// Number of cached versions.
const CACHED_VERSIONS: usize = 256;

/// Bytes of the workflows of all cached versions.
const CACHED_BYTES: usize = 32 << 20;

/// Maximum length of a host name; nothing longer is one.
const MAX_HOST_BYTES: usize = 253;

/// [`AppStore`] on DynamoDB.
///
/// A host is served by the app that lists it in `hosts`; else by the one whose name is its first label
/// (`echo.runs.example.com`); else by the default app; else, if only one app is deployed, by that one.
pub struct Apps {
    home: Arc<Shared>,
    hosts: Cache<String, (AppId, String)>,
    /// The current version of each app.
    current: Cache<AppId, String>,
    versions: Mutex<Versions>,
}

/// Versions are immutable: cached ones are dropped only to make room.
#[derive(Default)]
struct Versions {
    known: HashMap<(AppId, String), Arc<App>>,
    bytes: usize,
}

impl Apps {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        let hosts = Cache::new(Arc::clone(&home.clock), CACHED_HOSTS);
        let current = Cache::new(Arc::clone(&home.clock), CACHED_HOSTS);
        Self { home, hosts, current, versions: Mutex::default() }
    }

    async fn target_of(&self, host: &str) -> Result<Option<(AppId, String)>, StoreError> {
        let by_label = host.split_once('.').map(|(label, _)| by_name(label));
        let (exact, by_label) = tokio::join!(self.host_item(Some(host)), self.host_item(by_label.as_deref()));
        if let Some(item) = exact?.or(by_label?) {
            return target(&item).map(Some);
        }
        if let Some(name) = &self.home.config.default_app {
            let found = self.host_item(Some(&by_name(name))).await?;
            if found.is_none() {
                tracing::warn!(
                    app = name,
                    "the default app is not deployed: no app answers on hosts that name none"
                );
            }
            return found.map(|item| target(&item)).transpose();
        }
        let mut pointers = pointers(&self.home, Some(2)).await?;
        let only = pointers.pop().filter(|_| pointers.is_empty());
        Ok(only.map(|pointer| (pointer.app, pointer.version)))
    }

    async fn host_item(&self, host: Option<&str>) -> Result<Option<Item>, StoreError> {
        let Some(host) = host.filter(|host| !host.is_empty() && host.len() <= MAX_HOST_BYTES) else {
            return Ok(None);
        };
        get(&self.home, host_key(host), "HOST".to_owned()).await
    }
}

#[async_trait]
impl AppStore for Apps {
    async fn by_host(&self, host: &str) -> Result<Option<Arc<App>>, StoreError> {
        let host = if host.len() > MAX_HOST_BYTES { String::new() } else { host.to_owned() };
        let known = self.hosts.get(&host);
        let is_new = known.is_none();
        let target = if let Some(answer) = known {
            answer.into_option()
        } else {
            let read_at = self.hosts.now();
            let target = self.target_of(&host).await?;
            self.hosts.put(host, read_at, target.clone());
            target
        };
        match target {
            // Creating a run needs the stored bytes: read them now, and again when the host drops out of the cache.
            Some((app, version)) if is_new => {
                tokio::join!(self.stored(app, &version), self.home.counts.look_ahead(app)).0
            }
            Some((app, version)) => self.stored(app, &version).await,
            None => Ok(None),
        }
    }

    async fn version(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError> {
        let (found, current) = tokio::join!(self.stored(app, version), self.current_version(app));
        let (found, mut current) = (found?, current?);
        if current.as_deref().is_some_and(|current| current != version) {
            // The cached result may be older than this version, which may then be the current one.
            self.current.remove(&app);
            current = self.current_version(app).await?;
        }
        match (&found, current.filter(|current| current != version)) {
            (Some(former), Some(current)) => {
                let current = self.stored(app, &current).await?;
                Ok(current.map_or(found.clone(), |current| Some(former.within(&current))))
            }
            _ => Ok(found),
        }
    }

    async fn list(&self) -> Result<Vec<Arc<App>>, StoreError> {
        let mut apps = Vec::new();
        for pointer in pointers(&self.home, None).await? {
            apps.extend(self.stored(pointer.app, &pointer.version).await?);
        }
        apps.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(apps)
    }
}

impl Apps {
    /// Returns the current version of an app; `None` if the app is not deployed.
    async fn current_version(&self, app: AppId) -> Result<Option<String>, StoreError> {
        if let Some(answer) = self.current.get(&app) {
            return Ok(answer.into_option());
        }
        let read_at = self.current.now();
        let item = get(&self.home, APPS.to_owned(), app_key(app)).await?;
        let current = item.map(|item| Pointer::from_item(&item)).transpose()?.map(|pointer| pointer.version);
        self.current.put(app, read_at, current.clone());
        Ok(current)
    }

    /// A version as it was deployed.
    async fn stored(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError> {
        let key = (app, version.to_owned());
        let known = self.versions.lock().unwrap_or_else(PoisonError::into_inner).known.get(&key).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(item) = get(&self.home, app_key(app), version_key(version)).await? else { return Ok(None) };
        let stored = Stored::from_item(&item)?;
        let workflow = match &stored.object {
            Some(object) => Some(read_object(&self.home, object).await?),
            None => None,
        };
        let app = Arc::new(stored.into_app(workflow));
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).put(key, Arc::clone(&app));
        Ok(Some(app))
    }
}

impl Versions {
    fn put(&mut self, key: (AppId, String), app: Arc<App>) {
        let bytes = app.workflow.text.len();
        if self.known.len() >= CACHED_VERSIONS || self.bytes + bytes > CACHED_BYTES {
            self.known.clear();
            self.bytes = 0;
        }
        if self.known.insert(key, app).is_none() {
            self.bytes += bytes;
        }
    }
}

/// Reads an item consistently: a process that has not cached the previous deployment sees a new one at once.
async fn get(home: &Shared, partition: String, sort: String) -> Result<Option<Item>, StoreError> {
    let found = home
        .clients
        .dynamodb
        .get_item()
        .table_name(&home.config.table)
        .key("PK", text(partition))
        .key("SK", text(sort))
        .consistent_read(true)
        .send()
        .await
        .map_err(store_error)?;
    Ok(found.item)
}

/// Reads the pointers to current versions: all, or the first `limit`.
async fn pointers(home: &Shared, limit: Option<i32>) -> Result<Vec<Pointer>, StoreError> {
    let query = home
        .clients
        .dynamodb
        .query()
        .table_name(&home.config.table)
        .key_condition_expression("PK = :apps")
        .expression_attribute_values(":apps", text(APPS))
        .consistent_read(true);
    if limit.is_some() {
        let found = query.set_limit(limit).send().await.map_err(store_error)?;
        return found.items().iter().map(Pointer::from_item).collect();
    }
    let mut items = query.into_paginator().items().send();
    let mut pointers = Vec::new();
    while let Some(item) = items.next().await {
        pointers.push(Pointer::from_item(&item.map_err(store_error)?)?);
    }
    Ok(pointers)
}

async fn read_object(home: &Shared, key: &str) -> Result<String, StoreError> {
    let object = home.clients.s3.get_object().bucket(&home.config.bucket).key(key).send().await;
    let content = object.map_err(store_error)?.body.collect().await;
    let content = content.map_err(|error| StoreError::Unknown(error.into()))?.to_vec();
    String::from_utf8(content).map_err(|error| StoreError::Failed(error.into()))
}
