//! Where a command works: on a server, or on a data directory in this process.

use crate::{
    cli::{Place as Folders, Target},
    client::Client,
    plug::Plugged,
};
use anyhow::Result;
use runyard_boot::engine::Reach;
use std::sync::Arc;
use uuid::Uuid;

/// A place to work, and a client of it.
pub(crate) struct Place {
    pub(crate) client: Client,
    here: Option<Arc<Plugged>>,
}

/// The place that `target` says, for the app named `app` or the default one.
pub(crate) async fn open(target: &Target, app: Option<&str>) -> Result<Place> {
    if let Some(url) = &target.url {
        return Ok(Place { client: Client::remote(url, target.key.clone(), app)?, here: None });
    }
    let plugged = plug(&target.place).await?;
    let app = match app {
        Some(name) => plugged.app_named(name).await?,
        None => plugged.needed_default_app().await?,
    };
    Ok(Place { client: plugged.client_for(&app), here: Some(plugged) })
}

/// [`open`], for the app of a run: on a data directory it is known which.
pub(crate) async fn open_for_run(target: &Target, app: Option<&str>, run: Uuid) -> Result<Place> {
    if target.url.is_some() || app.is_some() {
        return open(target, app).await;
    }
    let plugged = plug(&target.place).await?;
    let app = match plugged.app_of_run(run).await? {
        Some(app) => app,
        None => plugged.needed_default_app().await?,
    };
    Ok(Place { client: plugged.client_for(&app), here: Some(plugged) })
}

async fn plug(folders: &Folders) -> Result<Arc<Plugged>> {
    runyard_boot::logs::for_people();
    // It is the user's own shell, as with `dev`.
    Ok(Arc::new(Plugged::open(folders, Reach::Loopback).await?))
}

impl Place {
    /// Hands over what still runs in this process.
    pub(crate) async fn close(self) {
        if let Some(plugged) = self.here {
            plugged.service.shut_down().await;
        }
    }
}
