//! The server: start, kill, restart.

use super::APP;
use crate::bench::spawn;
use anyhow::{Result, anyhow, bail};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::{
    process::Child,
    sync::{Mutex, watch},
};

/// A server that can be killed.
pub(super) struct Server {
    apps: PathBuf,
    data: PathBuf,
    child: Mutex<Child>,
    address: watch::Sender<SocketAddr>,
    /// Number of kills.
    kills: AtomicU64,
}

impl Server {
    pub(super) async fn start(apps: &Path, data: &Path) -> Result<Self> {
        let (child, address) = spawn(apps, data, APP).await?;
        Ok(Self {
            apps: apps.to_owned(),
            data: data.to_owned(),
            child: Mutex::new(child),
            address: watch::Sender::new(address),
            kills: AtomicU64::new(0),
        })
    }

    /// The address that it listens on, or last listened on.
    pub(super) fn address(&self) -> SocketAddr {
        *self.address.borrow()
    }

    /// Number of kills so far.
    pub(super) fn kills(&self) -> u64 {
        self.kills.load(Ordering::SeqCst)
    }

    /// Kills the server with SIGKILL, and starts it again.
    pub(super) async fn kill(&self) -> Result<()> {
        let mut child = self.child.lock().await;
        if let Some(status) = child.try_wait()? {
            bail!("the server exited by itself, with {status}");
        }
        self.kills.fetch_add(1, Ordering::SeqCst);
        child.kill().await?;
        let (next, address) = spawn(&self.apps, &self.data, APP).await?;
        *child = next;
        self.address.send_replace(address);
        Ok(())
    }

    /// Ends the server with SIGTERM, as a platform would.
    pub(super) async fn end(&self) -> Result<()> {
        let mut child = self.child.lock().await;
        let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| anyhow!("the server exited by itself"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = child.wait().await?;
        if !status.success() {
            bail!("the server exited with {status}");
        }
        Ok(())
    }
}
