//! The sockets of this process, and how many of them it may have.

use std::{io, net::SocketAddr, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;

use crate::http::ServerOptions;

/// Connections to one listener. Each reads ahead at most 32 KiB, so that all of them stay below what a small pod has;
/// a cluster of 1,000 nodes that all pull from one registry at once keeps three each.
const MAX_CONNECTIONS: usize = 3000;

/// How long a probe or a scrape may take at the end.
const HEALTH_DRAIN: Duration = Duration::from_secs(1);

/// What is answered at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Clients.
    Registry,
    /// Probes and metrics.
    Health,
    /// The operator, and other replicas.
    Control,
}

impl Purpose {
    fn in_words(self) -> &'static str {
        match self {
            Self::Registry => "the registry",
            Self::Health => "probes and metrics",
            Self::Control => "the operator",
        }
    }

    fn chosen_by(self) -> &'static str {
        match self {
            Self::Registry => "--listen of `lagan up`, `listen` in the file of `lagan serve`",
            Self::Health => "--health-listen of `lagan up`, `health.listen` in the file of `lagan serve`",
            Self::Control => "`control.listen` in the file of `lagan serve`",
        }
    }
}

/// Listens, so that a port that is taken is an error before anything else happens.
///
/// # Errors
/// If the address cannot be listened on.
pub(super) async fn bind(address: SocketAddr, purpose: Purpose) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("could not listen on {address} for {}", purpose.in_words());
        match error.kind() {
            io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "{what}: another program listens there. Stop it, or choose another address: {}",
                purpose.chosen_by()
            ),
            _ => anyhow::Error::new(error).context(what),
        }
    })
}

/// The bounds of a listener for clients.
pub(super) fn client_options(drain_timeout: Duration) -> ServerOptions {
    ServerOptions { max_connections: MAX_CONNECTIONS, drain_timeout }
}

/// The bounds of a listener for probes.
pub(super) fn health_options() -> ServerOptions {
    ServerOptions { max_connections: 64, drain_timeout: HEALTH_DRAIN }
}

/// Lets the process open as many files and sockets as the system allows: many systems start with 1,024, which is for
/// programs of another age. Where it is refused, the limit stays.
pub(super) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::debug!(error, "the number of open files stays limited");
        }
    }
}
