//! Listening: the socket, the accept loop, and its end.

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

/// Files that this process opens beside its connections: the database, logs, sandboxes, calls outside.
const OTHER_FILES: u64 = 256;
/// More connections wait in the kernel's queue.
const MOST_CONNECTIONS: u64 = 10_000;
/// Of these, one address has no more than this, unless the operator says otherwise.
const ONE_PEER: usize = 1_024;

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

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    all: usize,
    of_one_peer: usize,
}

impl Limits {
    /// As many as the process may have open files for; `of_one_peer` is the operator's limit, 0 for none.
    pub(crate) fn new(of_one_peer: Option<usize>) -> Self {
        let all = connection_limit();
        let of_one_peer = match of_one_peer {
            Some(0) => all,
            Some(limit) => limit.min(all),
            None => ONE_PEER.min(all - all / 4),
        };
        Self { all, of_one_peer }
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// A connection that is counted until this is dropped.
struct Counted {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    /// Counts one more connection of `address`, unless it has `most`.
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Counted> {
        let peer = peer_of(address);
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_default();
        if *count >= most {
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

/// Who is counted as one: an address, of IPv6 the network of 64 bits that one customer has.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Raises the limit of open files as far as this process may; gives how many connections fit in.
fn connection_limit() -> usize {
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
    pub(crate) fn start(listener: TcpListener, router: Router, ids: Arc<dyn Ids>, limits: Limits) -> Self {
        let accept = Self { connections: TaskTracker::new(), ends: Ends::default() };
        let (connections, ends) = (accept.connections.clone(), accept.ends.clone());
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(limits.all));
            let peers = Arc::<Peers>::default();
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
                let (stream, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, or the client left already: neither may end the loop or spin it.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let Some(counted) = peers.enter(peer.ip(), limits.of_one_peer) else {
                    // Closed at once: an answer would cost what the limit is there to save.
                    tracing::debug!(peer = %peer.ip(), most = limits.of_one_peer, "too many connections of one address");
                    continue;
                };
                let serve = connection::serve(stream, router.clone(), Arc::clone(&ids), ends.clone());
                connections.spawn(async move {
                    serve.await;
                    drop((counted, place));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_connections_and_others_theirs() {
        let peers = Arc::<Peers>::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let one = address("192.0.2.1");
        let held: Vec<_> = (0..3).map_while(|_| peers.enter(one, 3)).collect();
        assert_eq!(held.len(), 3);
        assert!(peers.enter(one, 3).is_none());
        assert!(
            peers.enter(address("::ffff:192.0.2.1"), 3).is_none(),
            "the same, as an IPv6 socket tells it"
        );
        assert!(peers.enter(address("192.0.2.2"), 3).is_some());
        drop(held);
        assert!(peers.enter(one, 3).is_some());
        assert!(peers.0.lock().expect("no panic").is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let peer = |text: &str| peer_of(text.parse().expect("an address"));
        assert_eq!(peer("2001:db8:1:2:3:4:5:6"), peer("2001:db8:1:2:ffff::"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
    }

    #[test]
    fn the_default_leaves_some_to_others() {
        let limits = Limits::new(None);
        assert!(limits.of_one_peer < limits.all && limits.of_one_peer <= ONE_PEER);
        assert_eq!(Limits::new(Some(0)).of_one_peer, limits.all);
        assert_eq!(Limits::new(Some(7)).of_one_peer, 7);
    }
}
