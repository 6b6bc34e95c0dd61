//! The one way to the network.

/// The network, as one app may use it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http;
