//! One registry of this process, served.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::Quantity;
use crate::api::serve_config::ServeConfig;
use crate::http::{App, Authenticator, LoadError, Metrics, Server, Service, Settings, TlsIdentity};

use super::exit::InvalidUsage;
use super::listener::{bind, client_options};
use super::registry::{OpenRegistry, options};

/// A registry that answers.
#[derive(Debug)]
pub(super) struct RegistryServer {
    /// The registry.
    pub(super) registry: OpenRegistry,
    /// Where clients connect; with the port that the system chose, if it was asked to.
    pub(super) address: SocketAddr,
    servers: JoinSet<()>,
}

impl RegistryServer {
    /// Opens the directory, waits for it if another process holds it, and then listens. It answers until `drain` is
    /// cancelled.
    ///
    /// # Errors
    /// If the directory cannot be used, or an address is taken.
    pub(super) async fn start(
        config: &ServeConfig,
        credentials: Credentials,
        metrics: &Arc<Metrics>,
        drain: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let options = options(&config.deletion, &config.descriptor_cache);
        let registry = OpenRegistry::open(&config.storage, options, config.access_mode).await?;
        let settings = Settings {
            access_mode: config.access_mode,
            max_manifest_size: config.limits.max_manifest_size.as_bytes(),
            max_blob_size: config.limits.max_blob_size.as_ref().map(Quantity::as_bytes),
            ..Settings::default()
        };
        let app = App::new(registry.catalog.clone(), settings, Arc::clone(metrics)).with_runs(registry.runs.clone());
        let app = Arc::new(app);
        let listener = bind(config.listen, "the registry").await?;
        let address = listener.local_addr().context("could not find out the address")?;
        let authenticator = Arc::new(credentials.authenticator);
        let mut listeners =
            vec![(listener, Service::Registry { app: Arc::clone(&app), authenticator }, credentials.tls)];
        if let (Some(control), Some(identity)) = (&config.control, credentials.control) {
            let listener = bind(control.listen, "the operator").await?;
            listeners.push((listener, Service::Control { app }, Some(identity)));
        }
        Ok(Self { registry, address, servers: Self::serve(config, listeners, metrics, drain) })
    }

    fn serve(
        config: &ServeConfig,
        listeners: Vec<(TcpListener, Service, Option<TlsIdentity>)>,
        metrics: &Arc<Metrics>,
        drain: &CancellationToken,
    ) -> JoinSet<()> {
        let mut servers = JoinSet::new();
        for (listener, service, tls) in listeners {
            let options = client_options(config.limits.drain_timeout.as_std());
            servers.spawn(Server::new(service, tls, Arc::clone(metrics), options).serve(listener, drain.clone()));
        }
        servers
    }

    /// Waits until all requests are answered, once the drain has begun, and gives the directory back.
    pub(super) async fn finish(self) {
        self.servers.join_all().await;
        self.registry.close().await;
    }
}

/// What the files hold that a configuration names.
pub(super) struct Credentials {
    authenticator: Authenticator,
    tls: Option<TlsIdentity>,
    control: Option<TlsIdentity>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the field and what is wrong with its file.
    pub(super) fn load(config: &ServeConfig) -> Result<Self, InvalidUsage> {
        let htpasswd = config.auth.htpasswd.as_ref().map(|htpasswd| htpasswd.file.as_path());
        let tls = config.tls.as_ref().map(|tls| TlsIdentity::load(&tls.certificate, &tls.key));
        let control = config.control.as_ref().map(|control| &control.tls);
        let control = control.map(|tls| TlsIdentity::load_mutual(&tls.certificate, &tls.key, &tls.client_authority));
        Ok(Self {
            authenticator: Authenticator::new(config.auth.anonymous, htpasswd).map_err(unusable("auth.htpasswd"))?,
            tls: tls.transpose().map_err(unusable("tls"))?,
            control: control.transpose().map_err(unusable("control.tls"))?,
        })
    }
}

fn unusable(field: &'static str) -> impl FnOnce(LoadError) -> InvalidUsage {
    // `#` prints the causes, too.
    move |error| InvalidUsage(format!("{field}: {:#}", anyhow::Error::new(error)))
}
