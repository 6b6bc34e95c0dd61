//! The place that a command works on: a server, or a data directory in this process.

use crate::{
    cli::{Place as Folders, Target},
    client::Client,
    plug::Plugged,
};
use anyhow::Result;
use runyard_boot::engine::Reach;
use std::sync::Arc;
use uuid::Uuid;

/// A server or data directory, and a client of it.
pub(crate) struct Place {
    pub(crate) client: Client,
    here: Option<Arc<Plugged>>,
}

/// Opens the place that `target` selects, for the app named `app` or the default one.
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

/// [`open`], for the app of a run: on a data directory the app is looked up.
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
    // As with `dev`, workflows run on behalf of the user who started the command.
    Ok(Arc::new(Plugged::open(folders, Reach::Loopback).await?))
}

impl Place {
    /// Hands over runs that are still executing in this process.
    pub(crate) async fn close(self) {
        if let Some(plugged) = self.here {
            plugged.service.shut_down().await;
        }
    }
}
