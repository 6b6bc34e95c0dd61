//! Listening: the socket, the accept loop, and its end.

use crate::connection::{self, Ends};
use anyhow::{Context, Result, anyhow};
use axum::Router;
use runyard_runs::Ids;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

/// Files that this process opens beside its connections: the database, logs, sandboxes, calls outside.
const OTHER_FILES: u64 = 256;
/// More connections wait in the kernel's queue.
const MOST_CONNECTIONS: u64 = 10_000;

/// Opens the listening socket.
pub(crate) async fn bind(listen: &str) -> Result<TcpListener> {
    let address = lookup_host(listen)
        .await
        .with_context(|| {
            format!("cannot listen on {listen}: give an address and a port, like 127.0.0.1:8787")
        })?
        .next()
        .ok_or_else(|| anyhow!("cannot listen on {listen}: the name has no address"))?;
    open(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {} is in use: stop the other process (`lsof -i :{}` names it), or choose another with --listen {}:{}",
            address.port(),
            address.port(),
            address.ip(),
            address.port().wrapping_add(1),
        ),
        io::ErrorKind::PermissionDenied => anyhow!("not allowed to listen on {address}: choose a port from 1024 on"),
        _ => anyhow!("cannot listen on {address}: {error}"),
    })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Raises the limit of open files as far as this process may; gives how many connections fit in.
pub(crate) fn connection_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
    // A run that calls outside has a socket of its own.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = (files.saturating_sub(OTHER_FILES) / 2).clamp(16, MOST_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Accepts connections until `stop`, then lets those that are open end.
pub(crate) struct Accept {
    connections: TaskTracker,
    ends: Ends,
}

impl Accept {
    /// Begins.
    pub(crate) fn start(listener: TcpListener, router: Router, ids: Arc<dyn Ids>, limit: usize) -> Self {
        let accept = Self { connections: TaskTracker::new(), ends: Ends::default() };
        let (connections, ends) = (accept.connections.clone(), accept.ends.clone());
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(limit));
            loop {
                // A place first: what finds none waits in the kernel's queue, and costs nothing here.
                let place = tokio::select! {
                    place = Arc::clone(&places).acquire_owned() => place,
                    () = ends.drain.cancelled() => return,
                };
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = ends.drain.cancelled() => return,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file descriptors, or the client left already: neither may end the loop or spin it.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let serve = connection::serve(stream, router.clone(), Arc::clone(&ids), ends.clone());
                connections.spawn(async move {
                    serve.await;
                    drop(place);
                });
            }
        });
        accept
    }

    /// Accepts no more, and closes each connection once its request is answered.
    pub(crate) fn stop(&self) {
        self.ends.drain.cancel();
        self.connections.close();
    }

    /// Ends every stream, and answers 503 to who still waits.
    pub(crate) fn end_now(&self) {
        self.ends.now.cancel();
    }

    /// Returns when all connections have ended, after [`Accept::stop`].
    pub(crate) async fn ended(&self) {
        self.connections.wait().await;
    }
}
