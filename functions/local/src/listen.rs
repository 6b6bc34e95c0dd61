//! Listening: the socket, the accept loop, and its shutdown.

use crate::connection::{self, Ends};
use anyhow::{Context, Result, anyhow};
use axum::Router;
use runyard_runs::Ids;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

/// File descriptors kept for other uses than connections: the database, logs, sandboxes, outgoing calls.
const OTHER_FILES: u64 = 256;
/// Open connections at most; more wait in the kernel's queue.
const MAX_CONNECTIONS: u64 = 10_000;
/// Default limit on the connections of one address.
const MAX_CONNECTIONS_PER_PEER: usize = 1_024;

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
            "port {} is in use: stop the other process (`lsof -i :{}` shows it), or choose another port with --listen {}:{}",
            address.port(),
            address.port(),
            address.ip(),
            address.port().wrapping_add(1),
        ),
        io::ErrorKind::PermissionDenied => anyhow!("not allowed to listen on {address}: choose a port above 1023"),
        _ => anyhow!("cannot listen on {address}: {error}"),
    })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the previous process.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Limits on the number of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    all: usize,
    of_one_peer: usize,
}

impl Limits {
    /// Derives the limits from the process's limit of open files; `of_one_peer` is the operator's limit, 0 for none.
    pub(crate) fn new(of_one_peer: Option<usize>) -> Self {
        let all = connection_limit();
        let of_one_peer = match of_one_peer {
            Some(0) => all,
            Some(limit) => limit.min(all),
            None => MAX_CONNECTIONS_PER_PEER.min(all - all / 4),
        };
        Self { all, of_one_peer }
    }
}

/// Number of connections per address.
#[derive(Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// Counts a connection until it is dropped.
struct Counted {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    /// Counts one more connection of `address`; `None` if it has `max` already.
    fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Counted> {
        let peer = peer_of(address);
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted { peers: Arc::clone(self), peer })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut peers = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// The unit that is counted: an IPv4 address, or an IPv6 /64, which is what one customer gets.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Raises the limit of open files to the hard limit; returns how many connections it allows.
fn connection_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "limit of open files not raised");
        }
    }
    // A run with an outgoing call needs a second socket.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = (files.saturating_sub(OTHER_FILES) / 2).clamp(16, MAX_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Accepts connections until `stop`, then lets open ones end.
pub(crate) struct Accept {
    connections: TaskTracker,
    ends: Ends,
}

impl Accept {
    /// Starts accepting.
    pub(crate) fn start(listener: TcpListener, router: Router, ids: Arc<dyn Ids>, limits: Limits) -> Self {
        let accept = Self { connections: TaskTracker::new(), ends: Ends::default() };
        let (connections, ends) = (accept.connections.clone(), accept.ends.clone());
        tokio::spawn(async move {
            let permits = Arc::new(Semaphore::new(limits.all));
            let peers = Arc::<Peers>::default();
            loop {
                // Take a permit before accepting: connections that wait in the kernel's queue cost nothing here.
                let permit = tokio::select! {
                    permit = Arc::clone(&permits).acquire_owned() => permit,
                    () = ends.drain.cancelled() => return,
                };
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = ends.drain.cancelled() => return,
                };
                let (stream, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // No file descriptor is left, or the client has gone: neither may end the loop or make it spin.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let Some(counted) = peers.enter(peer.ip(), limits.of_one_peer) else {
                    // Closed without a response, which would cost what the limit is meant to save.
                    tracing::debug!(peer = %peer.ip(), limit = limits.of_one_peer, "too many connections from one address");
                    continue;
                };
                let serve = connection::serve(stream, router.clone(), Arc::clone(&ids), ends.clone());
                connections.spawn(async move {
                    serve.await;
                    drop((counted, permit));
                });
            }
        });
        accept
    }

    /// Stops accepting, and closes each connection after its current response.
    pub(crate) fn stop(&self) {
        self.ends.drain.cancel();
        self.connections.close();
    }

    /// Ends every stream, and answers 503 to requests that still wait.
    pub(crate) fn end_now(&self) {
        self.ends.now.cancel();
    }

    /// Returns when all connections have ended, after [`Accept::stop`].
    pub(crate) async fn ended(&self) {
        self.connections.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_per_peer() {
        let peers = Arc::<Peers>::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let one = address("192.0.2.1");
        let held: Vec<_> = (0..3).map_while(|_| peers.enter(one, 3)).collect();
        assert_eq!(held.len(), 3);
        assert!(peers.enter(one, 3).is_none());
        assert!(
            peers.enter(address("::ffff:192.0.2.1"), 3).is_none(),
            "the same address, as an IPv6 socket reports it"
        );
        assert!(peers.enter(address("192.0.2.2"), 3).is_some());
        drop(held);
        assert!(peers.enter(one, 3).is_some());
        assert!(peers.0.lock().expect("no panic").is_empty(), "nothing is kept of closed connections");
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let peer = |text: &str| peer_of(text.parse().expect("an address"));
        assert_eq!(peer("2001:db8:1:2:3:4:5:6"), peer("2001:db8:1:2:ffff::"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
    }

    #[test]
    fn the_default_limit_leaves_connections_to_other_peers() {
        let limits = Limits::new(None);
        assert!(limits.of_one_peer < limits.all && limits.of_one_peer <= MAX_CONNECTIONS_PER_PEER);
        assert_eq!(Limits::new(Some(0)).of_one_peer, limits.all);
        assert_eq!(Limits::new(Some(7)).of_one_peer, 7);
    }
}
