//! Apps as items.
//!
//! ```text
//! APP#<app>, APP#<version>     a version, immutable; with its workflow, or the key of that in the bucket
//! APPS, APP#<app>              which version of the app is current, and the hosts on which it answers
//! HOST#<host>, HOST            the app that answers on a host, and its current version
//! HOST#<name>.*, HOST          the same for every host whose first label is the app's name
//! apps/<app>/<version>         the bucket's object of a workflow over 32 KiB
//! ```
//!
//! A deployment writes them in one transaction, so that no reader sees a partial deployment.

use crate::item::{Item, Reader, number, text};
use aws_sdk_dynamodb::types::AttributeValue;
use runyard_runs::{App, AppId, StoreError, Timestamp};
use std::{collections::BTreeSet, sync::Arc};

/// Maximum size of a workflow in the table, in bytes; a larger one is stored in the bucket.
pub(super) const INLINE: usize = 32 << 10;

/// The partition of all [`Pointer`]s.
pub(super) const APPS: &str = "APPS";

pub(super) fn app_key(app: AppId) -> String {
    format!("APP#{app}")
}

pub(super) fn version_key(version: &str) -> String {
    format!("APP#{version}")
}

pub(super) fn host_key(host: &str) -> String {
    format!("HOST#{host}")
}

/// The pattern that stands for every host whose first label is the name.
pub(super) fn by_name(name: &str) -> String {
    format!("{}.*", name.to_lowercase())
}

/// The key of a workflow that is too large for the table.
pub(super) fn object_key(app: &App) -> String {
    format!("apps/{}/{}", app.id, app.version)
}

/// The hosts on which an app answers, as they are written to the table.
pub(super) fn hosts(app: &App) -> BTreeSet<String> {
    app.hosts.iter().map(|host| host.to_lowercase()).chain([by_name(&app.name)]).collect()
}

/// One version of an app.
pub(super) struct Stored {
    app: App,
    /// The key of its workflow in the bucket, if the item does not contain it.
    pub(super) object: Option<String>,
    pub(super) deployed_at: Timestamp,
}

impl Stored {
    pub(super) fn new(app: &App, deployed_at: Timestamp) -> Self {
        let object = (app.workflow.text.len() > INLINE).then(|| object_key(app));
        Self { app: app.clone(), object, deployed_at }
    }

    pub(super) fn to_item(&self) -> Result<Item, StoreError> {
        let mut app = self.app.clone();
        app.workflow.text = Arc::from("");
        let json = serde_json::to_string(&app).map_err(|error| StoreError::Failed(error.into()))?;
        let mut item = Item::from([
            ("PK".to_owned(), text(app_key(app.id))),
            ("SK".to_owned(), text(version_key(&app.version))),
            ("app_json".to_owned(), text(json)),
            ("deployed_at".to_owned(), number(self.deployed_at.0)),
        ]);
        match &self.object {
            Some(object) => item.insert("object".to_owned(), text(object)),
            None => item.insert("workflow".to_owned(), text(&*self.app.workflow.text)),
        };
        Ok(item)
    }

    pub(super) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader(item);
        let mut app: App =
            serde_json::from_str(read.text("app_json")?).map_err(|error| StoreError::Failed(error.into()))?;
        let object = read.parse_any("object")?;
        if object.is_none() {
            app.workflow.text = Arc::from(read.text("workflow")?);
        }
        Ok(Self { app, object, deployed_at: read.time("deployed_at")? })
    }

    /// Returns the app, with `workflow` if that was read from the bucket.
    pub(super) fn into_app(mut self, workflow: Option<String>) -> App {
        if let Some(workflow) = workflow {
            self.app.workflow.text = workflow.into();
        }
        self.app
    }
}

/// Which version of an app is current.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pointer {
    pub(super) app: AppId,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) hosts: BTreeSet<String>,
    pub(super) activated_at: Timestamp,
    /// Counts activations: an activation succeeds only if its writer has read the previous one.
    pub(super) rev: u64,
}

impl Pointer {
    pub(super) fn to_item(&self) -> Item {
        let hosts = self.hosts.iter().cloned().collect();
        Item::from([
            ("PK".to_owned(), text(APPS)),
            ("SK".to_owned(), text(app_key(self.app))),
            ("app_id".to_owned(), text(self.app.to_string())),
            ("name".to_owned(), text(&self.name)),
            ("version".to_owned(), text(&self.version)),
            ("hosts".to_owned(), AttributeValue::Ss(hosts)),
            ("activated_at".to_owned(), number(self.activated_at.0)),
            ("rev".to_owned(), number(self.rev)),
        ])
    }

    pub(super) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader(item);
        let hosts = item.get("hosts").and_then(|hosts| hosts.as_ss().ok());
        Ok(Self {
            app: read.parse("app_id")?,
            name: read.text("name")?.to_owned(),
            version: read.text("version")?.to_owned(),
            hosts: hosts.ok_or_else(|| read.damaged("hosts"))?.iter().cloned().collect(),
            activated_at: read.time("activated_at")?,
            rev: read.number("rev")?,
        })
    }

    pub(super) fn host_item(&self, host: &str) -> Item {
        Item::from([
            ("PK".to_owned(), text(host_key(host))),
            ("SK".to_owned(), text("HOST")),
            ("app_id".to_owned(), text(self.app.to_string())),
            ("name".to_owned(), text(&self.name)),
            ("version".to_owned(), text(&self.version)),
        ])
    }
}

/// The app that answers on a host, and its version.
pub(super) fn target(item: &Item) -> Result<(AppId, String), StoreError> {
    let read = Reader(item);
    Ok((read.parse("app_id")?, read.text("version")?.to_owned()))
}
