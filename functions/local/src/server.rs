//! The server: API, worker and sweeper in one process, from start to shutdown.

use crate::{
    listen::{self, Accept},
    plug::Plugged,
    sweeper, worker,
};
use anyhow::Result;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, signal::unix, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Time for runs to be handed over. Together with [`CONNECTIONS_TIMEOUT`] less than the 10 s after which platforms kill
/// a process.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(7);
/// Time for responses and streams to end after the hand-over.
const CONNECTIONS_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
pub(crate) struct Server {
    /// The address that it listens on.
    pub(crate) address: SocketAddr,
    plugged: Arc<Plugged>,
    accept: Accept,
    stop: CancellationToken,
    loops: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts all parts on a listening socket; `connections_per_peer` is the operator's limit, if set.
    pub(crate) async fn start(
        plugged: Arc<Plugged>,
        listener: TcpListener,
        workers: usize,
        connections_per_peer: Option<usize>,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        sweeper::resume(&plugged).await;
        let stop = CancellationToken::new();
        let service = plugged.service.clone();
        let loops = vec![
            sweeper::start(Arc::clone(&plugged), stop.clone()),
            worker::start(service, plugged.queue(), workers, stop.clone()),
        ];
        let router = plugged.router();
        let limits = listen::Limits::new(connections_per_peer);
        let accept = Accept::start(listener, router, plugged.ids(), limits);
        Ok(Self { address, plugged, accept, stop, loops })
    }

    /// Returns a token that is canceled when shutdown begins.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Shuts down: accepts no more, hands running runs over, lets responses and streams end. Takes at most 9 s.
    pub(crate) async fn shut_down(self) {
        self.stop.cancel();
        self.accept.stop();
        if timeout(HAND_OVER_TIMEOUT, self.plugged.service.shut_down()).await.is_err() {
            tracing::warn!(
                "some runs were not handed over in time: they are taken over once their leases end"
            );
        }
        self.accept.end_now();
        let ended = async {
            self.accept.ended().await;
            for part in self.loops {
                let _ = part.await;
            }
        };
        if timeout(CONNECTIONS_TIMEOUT, ended).await.is_err() {
            tracing::debug!("some connections were cut");
        }
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            terminate: unix::signal(unix::SignalKind::terminate())?,
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
