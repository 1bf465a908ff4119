//! One registry of this process, served.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::Quantity;
use crate::api::serve_config::ServeConfig;
use crate::api::v1alpha1::Redirect;
use crate::api::wire::PolicyRunner;
use crate::http::{App, Metrics, Server, Service, Settings, TlsIdentity};

use super::credentials::Credentials;
use super::listener::{Purpose, bind, client_options};
use super::local_socket::{self, OwnSocket};
use super::object_storage::redirect;
use super::registry::{OpenRegistry, Tell, immutable_tags, options};
use super::registry_folder::is_untouched;

/// For how long a signed address of the object store is good. Clients follow a redirect at once, but one that fetches
/// many layers may wait with some of them; and what is soft-deleted can be fetched by it for so long.
const REDIRECT_FOR: Duration = Duration::from_secs(600);

/// The chunks that a bucket likes: what its uploads are put together of. Smaller ones are held in memory until they are
/// a part.
const MIN_CHUNK: u64 = 8 << 20;

/// How long commands of this machine may take at the end.
const COMMAND_DRAIN: Duration = Duration::from_secs(1);

/// A registry that answers.
#[derive(Debug)]
pub(super) struct RegistryServer {
    /// The registry.
    pub(super) registry: OpenRegistry,
    /// Where clients connect; with the port that the system chose, if it was asked to.
    pub(super) address: SocketAddr,
    /// For clients.
    clients: JoinSet<()>,
    /// For the operator and other replicas: they are answered until this process has left.
    control: JoinSet<()>,
    stop_control: CancellationToken,
    /// For commands of this machine.
    socket: Option<OwnSocket>,
}

impl RegistryServer {
    /// Opens the storage, waits for it if another process holds it, and then listens. It answers clients until `drain`
    /// is cancelled, and the operator and other replicas until [`Self::finish`]. `None` if `drain` was cancelled before.
    /// For whom it waits is told.
    ///
    /// # Errors
    /// If the storage cannot be used, or an address is taken.
    pub(super) async fn start(
        config: &ServeConfig,
        credentials: Credentials,
        metrics: &Arc<Metrics>,
        drain: &CancellationToken,
        tell: Tell<'_>,
    ) -> anyhow::Result<Option<Self>> {
        if config.storage.directory().is_some_and(is_untouched) {
            // There is no other process that it waits for, and which will free the address.
            drop(bind(config.listen, Purpose::Registry).await?);
        }
        let control = match &config.control {
            Some(control) => Some(bind(control.listen, Purpose::Control).await?),
            None => None,
        };
        let options = options(config, credentials.redis, metrics.storage().clone());
        let registry = tokio::select! {
            opened = OpenRegistry::open(config, credentials.medium, options, tell) => opened?,
            () = drain.cancelled() => return Ok(None),
        };
        let app = App::new(registry.catalog.clone(), settings(config)?, Arc::clone(metrics));
        let app = app.with_runs(registry.runs.clone()).with_scrubs(registry.scrubs.clone());
        let app = Arc::new(app.with_collections(registry.collections.clone()));
        let stop_control = CancellationToken::new();
        let mut answering = JoinSet::new();
        if let (Some(listener), Some(identity)) = (control, credentials.control) {
            let service = Service::Control { app: Arc::clone(&app) };
            serve(&mut answering, config, (listener, service, Some(identity)), metrics, &stop_control);
        }
        let socket = match config.storage.directory() {
            Some(directory) => listen_locally(&mut answering, directory, &app, metrics, &stop_control),
            None => None,
        };
        // Others may ask from the moment on that this process is registered, and it serves nobody before it has joined.
        let has_joined = tokio::select! {
            () = registry.catalog.joined() => true,
            () = drain.cancelled() => false,
        };
        if !has_joined {
            drop(socket);
            leave(registry, answering, &stop_control).await;
            return Ok(None);
        }
        registry.begin_maintenance().await;
        let listener = bind(config.listen, Purpose::Registry).await?;
        let address = listener.local_addr().context("could not find out the address")?;
        let service = Service::Registry { app, authenticator: Arc::new(credentials.authenticator) };
        let mut clients = JoinSet::new();
        serve(&mut clients, config, (listener, service, credentials.tls), metrics, drain);
        Ok(Some(Self { registry, address, clients, control: answering, stop_control, socket }))
    }

    /// Waits until all requests are answered, once the drain has begun, and gives the storage back.
    pub(super) async fn finish(self) {
        self.clients.join_all().await;
        // Commands that come from now on wait for the folder.
        drop(self.socket);
        leave(self.registry, self.control, &self.stop_control).await;
    }
}

/// Other replicas may ask until the registry has left.
async fn leave(registry: OpenRegistry, control: JoinSet<()>, stop_control: &CancellationToken) {
    registry.close().await;
    stop_control.cancel();
    control.join_all().await;
}

fn settings(config: &ServeConfig) -> anyhow::Result<Settings> {
    Ok(Settings {
        access_mode: config.access_mode,
        garbage_collection: config.garbage_collection.mode,
        max_manifest_size: config.limits.max_manifest_size.as_bytes(),
        max_blob_size: config.limits.max_blob_size.as_ref().map(Quantity::as_bytes),
        min_chunk_size: config.storage.directory().is_none().then_some(MIN_CHUNK),
        redirect_for: (redirect(&config.storage) == Redirect::Enabled).then_some(REDIRECT_FOR),
        immutable_tags: immutable_tags(config)?,
        policy_runner: if config.control.is_some() { PolicyRunner::Operator } else { PolicyRunner::Nobody },
    })
}

/// Answers commands of this machine. A file system that has no sockets leaves them the network.
fn listen_locally(
    servers: &mut JoinSet<()>,
    directory: &Path,
    app: &Arc<App>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Option<OwnSocket> {
    match local_socket::bind(directory) {
        Ok((listener, socket)) => {
            let service = Service::Control { app: Arc::clone(app) };
            let server = Server::new(service, None, Arc::clone(metrics), client_options(COMMAND_DRAIN));
            servers.spawn(server.serve_local(listener, stop.clone()));
            Some(socket)
        }
        Err(error) => {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "commands cannot reach this process through its folder: give them --registry");
            None
        }
    }
}

fn serve(
    servers: &mut JoinSet<()>,
    config: &ServeConfig,
    (listener, service, tls): (TcpListener, Service, Option<TlsIdentity>),
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) {
    let options = client_options(config.limits.drain_timeout.as_std());
    servers.spawn(Server::new(service, tls, Arc::clone(metrics), options).serve(listener, stop.clone()));
}
