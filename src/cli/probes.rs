//! The listener for probes and metrics.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::{Health, Metrics, Readiness, Server, Service};

use super::listener::{Purpose, bind, health_options};

/// Answers probes of one registry until [`Self::finish`], also before that registry is ready and while it drains.
#[derive(Debug)]
pub(super) struct Probes {
    /// Where; with the port that the system chose, if it was asked to.
    pub(super) address: SocketAddr,
    /// What is answered.
    pub(super) readiness: Readiness,
    answering: CancellationToken,
    tasks: JoinSet<()>,
}

impl Probes {
    /// Listens.
    ///
    /// # Errors
    /// If the address is taken.
    pub(super) async fn start(listen: SocketAddr, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let listener = bind(listen, Purpose::Health).await?;
        let address = listener.local_addr().context("could not find out the address")?;
        let (readiness, answering, mut tasks) = (Readiness::new(), CancellationToken::new(), JoinSet::new());
        let service = Service::Health(Arc::new(Health::new(Arc::clone(metrics), readiness.clone())));
        let server = Server::new(service, None, Arc::clone(metrics), health_options());
        tasks.spawn(server.serve(listener, answering.clone()));
        Ok(Self { address, readiness, answering, tasks })
    }

    /// Answers nobody any more.
    pub(super) async fn finish(self) {
        self.answering.cancel();
        self.tasks.join_all().await;
    }
}
