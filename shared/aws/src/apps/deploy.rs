//! Deploying apps: one transaction stores a version and makes it current, or makes an earlier version current again.

use super::{
    get,
    item::{APPS, Pointer, Stored, app_key, by_name, host_key, hosts, target, version_key},
    pointers,
};
use crate::{
    aws::Shared,
    bodies,
    error::store_error,
    item::{Reader, number, text},
    table,
};
use aws_sdk_dynamodb::{
    error::BuildError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        CancellationReason, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem,
    },
};
use aws_sdk_s3::primitives::ByteStream;
use runyard_runs::{App, AppId, StoreError, Timestamp};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// The stores from which secrets can be read, see [`Secrets`](crate::Secrets).
const SECRET_STORES: [&str; 2] = [crate::secrets::SECRETS_MANAGER, crate::secrets::SSM];

/// A transaction writes at most 100 items: the version, the pointer, and each host that is added or removed.
const MAX_HOSTS: usize = 48;

/// Minimum length of a prefix that identifies a version, in characters.
const MIN_VERSION_PREFIX: usize = 4;

const DAY_SECONDS: i64 = 86_400;

/// Attempts of a deployment that conflicts with other deployments of the same app.
const MAX_ATTEMPTS: u32 = 5;

/// Deploys apps, rolls them back and lists them, for operators.
pub struct Deployments {
    home: Arc<Shared>,
}

/// What a deployment or rollback did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The app.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// The version that is current now.
    pub version: String,
    /// The version that was current before, if there was one.
    pub before: Option<String>,
    /// Whether anything was changed; `false` if this version was current already.
    pub changed: bool,
}

/// A deployed app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The app.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// Its current version.
    pub version: String,
    /// The hosts on which it answers; `NAME.*` for every host whose first label is the app's name.
    pub hosts: Vec<String>,
    /// When that version became current.
    pub activated_at: Timestamp,
}

/// One version of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub version: String,
    /// When it was first deployed.
    pub deployed_at: Timestamp,
    /// Whether new runs use it.
    pub is_current: bool,
}

/// Why nothing was deployed or rolled back.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Another app answers on this host.
    #[error(
        "the host {host} belongs to the app {owner} ({owner_id}): deploy that app without it first, or remove it from \
         `hosts` here"
    )]
    HostTaken {
        /// The host.
        host: String,
        /// The name of the app that has it.
        owner: String,
        /// Its id.
        owner_id: AppId,
    },
    /// Another app has this name.
    #[error(
        "the name {name} belongs to the app with the id {owner_id}: choose another `name`, or set `id` to that id if it \
         is the same app"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The id of the app that has it.
        owner_id: AppId,
    },
    /// More hosts than one transaction can change.
    #[error("`hosts`: an app has at most {MAX_HOSTS} hosts, including its name, and this one has {0}")]
    TooManyHosts(usize),
    /// An environment variable refers to an unknown store of secrets.
    #[error("`{name}` is kept in \"{store}\", which is unknown: use secretsmanager or ssm")]
    UnknownSecretStore {
        /// The variable.
        name: String,
        /// The store.
        store: String,
    },
    /// Its runs would be kept for longer than the bucket's lifecycle rules keep any object.
    #[error(
        "`retention_days` is {days}, and must be at most {most} on AWS with the run limits of this app: the bucket deletes \
         large content after {} days",
        bodies::LONGEST_KEPT / DAY_SECONDS
    )]
    KeptTooLong {
        /// The app's `retention_days`.
        days: u32,
        /// The maximum for this app.
        most: i64,
    },
    /// No app has this name.
    #[error("no app {name} is deployed: {}", known_apps(.known))]
    NoSuchApp {
        /// The name.
        name: String,
        /// The names of the apps that are deployed.
        known: Vec<String>,
    },
    /// No version of the app has this prefix, or more than one has.
    #[error("{name} has {} version {version}: `runyard apps versions {name}` lists them", if *.ambiguous { "more than one" } else { "no" })]
    NoSuchVersion {
        /// The app's name.
        name: String,
        /// The requested version, or prefix of one.
        version: String,
        /// Whether several versions have this prefix.
        ambiguous: bool,
    },
    /// Concurrent deployments of the same app won every attempt.
    #[error("another deployment of this app is under way: check its versions, and try again")]
    Busy,
    /// AWS failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Deployments {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home }
    }

    /// Stores a version of an app and makes it current, with its hosts, atomically. Existing runs stay on their version.
    /// The caller must have checked the app: an engine that cannot load it fails its runs.
    pub async fn deploy(&self, app: &App) -> Result<Deployed, DeployError> {
        let unknown =
            app.secrets.iter().find(|(_, reference)| !SECRET_STORES.contains(&reference.store.as_str()));
        if let Some((name, reference)) = unknown {
            return Err(DeployError::UnknownSecretStore {
                name: name.clone(),
                store: reference.store.clone(),
            });
        }
        let most = max_retention_days(app);
        if i64::from(app.retention_days) > most {
            return Err(DeployError::KeptTooLong { days: app.retention_days, most });
        }
        let stored = Stored::new(app, self.home.clock.now());
        if let Some(object) = &stored.object {
            // Its key contains the version, a hash of the content: an earlier write stored the same.
            self.home
                .clients
                .s3
                .put_object()
                .bucket(&self.home.config.bucket)
                .key(object)
                .content_type("application/yaml")
                .body(ByteStream::from(app.workflow.text.as_bytes().to_vec()))
                .send()
                .await
                .map_err(store_error)?;
        }
        self.activate(app, Some(&stored)).await
    }

    /// Makes an earlier version current again. A prefix of its name, of at least 4 characters, is enough.
    pub async fn roll_back(&self, name: &str, version: &str) -> Result<Deployed, DeployError> {
        let app = self.app_named(name).await?;
        let mut found = self.stored(app, version).await?;
        let ambiguous = found.len() > 1;
        match found.pop() {
            Some((_, stored)) if !ambiguous && version.len() >= MIN_VERSION_PREFIX => {
                self.activate(&stored.into_app(None), None).await
            }
            _ => Err(DeployError::NoSuchVersion {
                name: name.to_owned(),
                version: version.to_owned(),
                ambiguous,
            }),
        }
    }

    /// Returns the versions of an app, latest deployment first.
    pub async fn versions(&self, name: &str) -> Result<Vec<Version>, DeployError> {
        let app = self.app_named(name).await?;
        let current = self.pointer(app).await?.map(|pointer| pointer.version);
        let mut versions: Vec<_> = self
            .stored(app, "")
            .await?
            .into_iter()
            .map(|(version, stored)| Version {
                is_current: current.as_ref() == Some(&version),
                version,
                deployed_at: stored.deployed_at,
            })
            .collect();
        versions
            .sort_by(|one, other| (other.deployed_at, &other.version).cmp(&(one.deployed_at, &one.version)));
        Ok(versions)
    }

    /// Returns the deployed apps, by name.
    pub async fn list(&self) -> Result<Vec<Current>, DeployError> {
        let mut apps: Vec<_> = pointers(&self.home, None)
            .await?
            .into_iter()
            .map(|pointer| Current {
                app: pointer.app,
                name: pointer.name,
                version: pointer.version,
                hosts: pointer.hosts.into_iter().collect(),
                activated_at: pointer.activated_at,
            })
            .collect();
        apps.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(apps)
    }

    /// Makes a version current. Stores it in the same transaction if `stored` is given and it does not exist yet; else
    /// it must exist.
    async fn activate(&self, app: &App, stored: Option<&Stored>) -> Result<Deployed, DeployError> {
        let hosts = hosts(app);
        if hosts.len() > MAX_HOSTS {
            return Err(DeployError::TooManyHosts(hosts.len()));
        }
        for attempt in 0..MAX_ATTEMPTS {
            let before = self.pointer(app.id).await?;
            let mut deployed = Deployed {
                app: app.id,
                name: app.name.clone(),
                version: app.version.clone(),
                before: before.as_ref().map(|before| before.version.clone()),
                changed: true,
            };
            if before.as_ref().is_some_and(|before| before.version == app.version) {
                deployed.changed = false;
                return Ok(deployed);
            }
            let exists = get(&self.home, app_key(app.id), version_key(&app.version)).await?.is_some();
            let pointer = Pointer {
                app: app.id,
                name: app.name.clone(),
                version: app.version.clone(),
                hosts: hosts.clone(),
                activated_at: self.home.clock.now(),
                rev: before.as_ref().map_or(1, |before| before.rev + 1),
            };
            let change = Change {
                table: &self.home.config.table,
                before: before.as_ref(),
                pointer: &pointer,
                version: stored.filter(|_| !exists),
            };
            match self.write(&change).await? {
                Written::Done => return Ok(deployed),
                Written::Refused(error) => return Err(error),
                Written::Overtaken => {
                    let wait = Duration::from_millis(50) * 2_u32.pow(attempt);
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Err(DeployError::Busy)
    }

    async fn write(&self, change: &Change<'_>) -> Result<Written, DeployError> {
        let items = change.items()?;
        let (hosts, items): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let transaction = self.home.clients.dynamodb.transact_write_items().set_transact_items(Some(items));
        let Err(error) = transaction.send().await else { return Ok(Written::Done) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error()
        else {
            return Err(store_error(error).into());
        };
        let mut overtaken = false;
        for (host, reason) in hosts.iter().zip(canceled.cancellation_reasons()) {
            match (reason.code(), host) {
                (Some("ConditionalCheckFailed"), Some(host)) => {
                    return Ok(Written::Refused(change.host_taken(host, reason)?));
                }
                (Some("ConditionalCheckFailed" | "TransactionConflict"), _) => overtaken = true,
                _ => {}
            }
        }
        if overtaken { Ok(Written::Overtaken) } else { Err(store_error(error).into()) }
    }

    async fn pointer(&self, app: AppId) -> Result<Option<Pointer>, StoreError> {
        let item = get(&self.home, APPS.to_owned(), app_key(app)).await?;
        item.map(|item| Pointer::from_item(&item)).transpose()
    }

    async fn app_named(&self, name: &str) -> Result<AppId, DeployError> {
        if let Some(item) = get(&self.home, host_key(&by_name(name)), "HOST".to_owned()).await? {
            return Ok(target(&item)?.0);
        }
        let known = pointers(&self.home, None).await?.into_iter().map(|pointer| pointer.name);
        let mut known: Vec<_> = known.collect();
        known.sort();
        Err(DeployError::NoSuchApp { name: name.to_owned(), known })
    }

    /// The versions of an app whose names begin with `version`.
    async fn stored(&self, app: AppId, version: &str) -> Result<Vec<(String, Stored)>, StoreError> {
        let mut items = self
            .home
            .clients
            .dynamodb
            .query()
            .table_name(&self.home.config.table)
            .key_condition_expression("PK = :app AND begins_with(SK, :version)")
            .expression_attribute_values(":app", text(app_key(app)))
            .expression_attribute_values(":version", text(version_key(version)))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(store_error)?;
            let version = Reader(&item).text("SK")?.trim_start_matches("APP#").to_owned();
            found.push((version, Stored::from_item(&item)?));
        }
        Ok(found)
    }
}

enum Written {
    Done,
    /// A concurrent deployment came first: read again, and retry.
    Overtaken,
    Refused(DeployError),
}

/// The changes of one transaction.
struct Change<'a> {
    table: &'a str,
    before: Option<&'a Pointer>,
    pointer: &'a Pointer,
    /// The version, if it must be stored too.
    version: Option<&'a Stored>,
}

impl Change<'_> {
    /// The writes of the transaction; each write of a host with that host.
    fn items(&self) -> Result<Vec<(Option<String>, TransactWriteItem)>, StoreError> {
        let mut items = vec![(None, self.version()?), (None, self.pointer()?)];
        for host in &self.pointer.hosts {
            items.push((Some(host.clone()), self.take_host(host).map_err(built)?));
        }
        let none = BTreeSet::new();
        let had = self.before.map_or(&none, |before| &before.hosts);
        for host in had.difference(&self.pointer.hosts) {
            items.push((Some(host.clone()), self.release_host(host).map_err(built)?));
        }
        Ok(items)
    }

    fn version(&self) -> Result<TransactWriteItem, StoreError> {
        let item = TransactWriteItem::builder();
        let Some(stored) = self.version else {
            let check = ConditionCheck::builder()
                .table_name(self.table)
                .key("PK", text(app_key(self.pointer.app)))
                .key("SK", text(version_key(&self.pointer.version)))
                .condition_expression("attribute_exists(PK)")
                .build();
            return Ok(item.condition_check(check.map_err(built)?).build());
        };
        let put = Put::builder()
            .table_name(self.table)
            .set_item(Some(stored.to_item()?))
            .condition_expression("attribute_not_exists(PK)")
            .build();
        Ok(item.put(put.map_err(built)?).build())
    }

    fn pointer(&self) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder().table_name(self.table).set_item(Some(self.pointer.to_item()));
        let put = match self.before {
            None => put.condition_expression("attribute_not_exists(PK)"),
            Some(before) => {
                put.condition_expression("rev = :rev").expression_attribute_values(":rev", number(before.rev))
            }
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(built)?).build())
    }

    fn take_host(&self, host: &str) -> Result<TransactWriteItem, BuildError> {
        let put = Put::builder()
            .table_name(self.table)
            .set_item(Some(self.pointer.host_item(host)))
            .condition_expression("attribute_not_exists(PK) OR app_id = :app")
            .expression_attribute_values(":app", text(self.pointer.app.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn release_host(&self, host: &str) -> Result<TransactWriteItem, BuildError> {
        let delete = Delete::builder()
            .table_name(self.table)
            .key("PK", text(host_key(host)))
            .key("SK", text("HOST"))
            .condition_expression("attribute_not_exists(PK) OR app_id = :app")
            .expression_attribute_values(":app", text(self.pointer.app.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    fn host_taken(&self, host: &str, reason: &CancellationReason) -> Result<DeployError, StoreError> {
        let item = reason.item.clone().unwrap_or_default();
        let owner = Reader(&item);
        let (owner_id, owner) = (owner.parse("app_id")?, owner.text("name")?.to_owned());
        Ok(if host == by_name(&self.pointer.name) {
            DeployError::NameTaken { name: self.pointer.name.clone(), owner_id }
        } else {
            DeployError::HostTaken { host: host.to_owned(), owner, owner_id }
        })
    }
}

/// The maximum of `retention_days` for this app: how long the bucket keeps objects, less the longest duration of a run,
/// the grace period of the table, and one second for rounding up.
fn max_retention_days(app: &App) -> i64 {
    let other_seconds = (app.longest_run() + table::LINGER).as_secs() + 1;
    (bodies::LONGEST_KEPT - i64::try_from(other_seconds).unwrap_or(i64::MAX)) / DAY_SECONDS
}

fn built(error: BuildError) -> StoreError {
    StoreError::Failed(error.into())
}

fn known_apps(names: &[String]) -> String {
    if names.is_empty() { "there are none yet".to_owned() } else { format!("there are {}", names.join(", ")) }
}
