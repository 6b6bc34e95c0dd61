//! The server: API, worker and sweeper in one process, from its start to its end.

use crate::{
    listen::{self, Accept},
    plug::Plugged,
    sweeper, worker,
};
use anyhow::Result;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, signal::unix, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// For runs to be handed back to the log. With [`CONNECTIONS`] below the 10 s after which platforms kill.
const HAND_OVER: Duration = Duration::from_secs(7);
/// For answers and streams to end after that.
const CONNECTIONS: Duration = Duration::from_secs(2);

/// A server that runs.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    plugged: Arc<Plugged>,
    accept: Accept,
    stop: CancellationToken,
    loops: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts all parts on a socket that listens already; `connections_per_peer` is the operator's limit, if there is one.
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

    /// Is canceled when the server begins to end.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends: accepts no more, hands running runs over, lets answers and streams end. At most 9 s.
    pub(crate) async fn shut_down(self) {
        self.stop.cancel();
        self.accept.stop();
        if timeout(HAND_OVER, self.plugged.service.shut_down()).await.is_err() {
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
        if timeout(CONNECTIONS, ended).await.is_err() {
            tracing::debug!("some connections were cut");
        }
    }
}

/// Signals that ask the process to end.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// Listens for them from now on.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            terminate: unix::signal(unix::SignalKind::terminate())?,
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
        })
    }

    /// Returns at the next; gives its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
