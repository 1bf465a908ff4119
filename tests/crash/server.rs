//! A registry with a listener, for who copies from it.

use std::{sync::Arc, time::Duration};

use lagan::api::v1alpha1::Anonymous;
use lagan::http::{App, Authenticator, Metrics, Server, ServerOptions, Service, Settings};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::registry::Registry;

/// A registry that serves, until it is stopped.
pub(crate) struct Served {
    pub(crate) url: String,
    registry: Registry,
    /// Where it lies, for as long as this.
    place: TempDir,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn begin(registry: Registry, place: TempDir) -> Self {
        let metrics = Arc::new(Metrics::new());
        let app = Arc::new(App::new(registry.catalog.clone(), Settings::default(), Arc::clone(&metrics)));
        let authenticator = Arc::new(Authenticator::new(Anonymous::All, None).unwrap());
        let service = Service::Registry { app, authenticator };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let options = ServerOptions { max_connections: 64, drain_timeout: Duration::from_millis(200) };
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(Server::new(service, None, metrics, options).serve(listener, shutdown.clone()));
        Self { url, registry, place, shutdown, server }
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.registry.abandon().await;
        self.place.close().unwrap();
    }
}
