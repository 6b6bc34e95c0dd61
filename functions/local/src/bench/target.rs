//! The server that is measured: one that runs already, or one that bench starts.

use super::{Plan, memory::Memory};
use crate::{cli::Place, exit::usage, plug};
use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// A server to measure.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// The `Host` header.
    pub(super) host: String,
    pub(super) key: String,
    pid: Option<u32>,
    own: Option<Own>,
}

/// A server that bench started.
struct Own {
    server: Child,
    _folder: Option<Folder>,
}

/// A temporary folder, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        use runyard_runs::Ids;
        let path = std::env::temp_dir().join(format!("runyard-bench-{}", runyard_runs::SystemIds.random()));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Target {
    /// The server of the plan, or a new one on an empty data directory.
    pub(super) async fn of(plan: &Plan) -> Result<Self> {
        if let Some(given) = &plan.server {
            let url: reqwest::Url =
                given.url.parse().map_err(|error| usage(format!("--url {}: {error}", given.url)))?;
            if url.scheme() != "http" {
                return Err(usage("--url: must begin with http://"));
            }
            let name = url.host_str().unwrap_or("localhost");
            let port = url.port_or_known_default().unwrap_or(80);
            let address = tokio::net::lookup_host((name, port))
                .await
                .with_context(|| format!("cannot resolve {name}"))?
                .find(SocketAddr::is_ipv4)
                .with_context(|| format!("{name} has no IPv4 address"))?;
            let host = if address.ip().is_loopback() {
                format!("{}.localhost:{port}", plan.app)
            } else {
                name.into()
            };
            Ok(Self { address, host, key: given.key.clone(), pid: given.pid, own: None })
        } else {
            let folder = Folder::new()?;
            let data = folder.path().join("data");
            Self::start(&plan.place.apps, &data, &plan.app, Some(folder)).await
        }
    }

    /// Starts a server on `data`.
    pub(super) async fn start(apps: &Path, data: &Path, app: &str, folder: Option<Folder>) -> Result<Self> {
        let key = make_key(apps, data, app).await?;
        let (server, address) = spawn(apps, data, app).await?;
        let host = format!("{app}.localhost:{}", address.port());
        Ok(Self { address, host, key, pid: server.id(), own: Some(Own { server, _folder: folder }) })
    }

    /// The server's memory; `None` if its pid is not known.
    pub(super) fn memory(&self) -> Option<Memory> {
        self.pid.map(Memory::of)
    }

    /// The process whose memory is measured.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Stops a server that bench started, with SIGTERM, as a platform would.
    pub(super) async fn stop(mut self) -> Result<()> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let Some(pid) =
            own.server.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?))
        else {
            bail!("the server exited by itself");
        };
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = own.server.wait().await?;
        if !status.success() {
            bail!("the server exited with {status}");
        }
        Ok(())
    }
}

/// Creates a key for the app's organization, directly in the data directory.
pub(crate) async fn make_key(apps: &Path, data: &Path, app: &str) -> Result<String> {
    let place = Place { apps: apps.to_owned(), data: data.to_owned(), default_app: Some(app.to_owned()) };
    plug::make_key_for(&place, app).await
}

/// Starts `runyard serve`; returns the process and its address once it listens.
pub(crate) async fn spawn(apps: &Path, data: &Path, app: &str) -> Result<(Child, SocketAddr)> {
    let address_file = data.join("address");
    let _ = std::fs::remove_file(&address_file);
    let mut server = Command::new(std::env::current_exe().context("cannot find this executable")?)
        .args(["serve", "--listen", "127.0.0.1:0", "--default-app", app, "--apps"])
        .arg(apps)
        .arg("--data")
        .arg(data)
        .arg("--address-file")
        .arg(&address_file)
        .env("RUNYARD_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a server")?;
    let started = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(&address_file)
            && let Ok(address) = text.trim().parse()
        {
            return Ok((server, address));
        }
        if let Some(status) = server.try_wait()? {
            bail!("the server exited with {status}");
        }
        if started.elapsed() > Duration::from_mins(1) {
            bail!("the server does not listen after 60 s");
        }
        sleep(Duration::from_millis(1)).await;
    }
}
