//! `lagan serve --config FILE`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::serve_config::ServeConfig;
use crate::http::{App, Authenticator, Health, LoadError, Metrics, Readiness, Server, Service, Settings, TlsIdentity};

use super::config::Config;
use super::exit::InvalidUsage;
use super::listener::{bind, client_options, health_options, raise_file_limit};
use super::registry::{OpenRegistry, options};
use super::shutdown::Shutdown;
use super::telemetry;

/// Serve one registry, as a configuration file says. The operator's pods run this.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration, in YAML.
    #[arg(long, value_name = "FILE", env = "LAGAN_CONFIG")]
    config: PathBuf,
}

/// Serves until a signal, and then until requests in progress are answered.
///
/// The configuration and every file that it names is read before any port is bound. Then probes are answered: live, and
/// not ready for as long as another process holds the directory.
///
/// # Errors
/// [`InvalidUsage`] for the configuration; else what the system refuses.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?.into_inner();
    let credentials = Credentials::load(&config).map_err(|Unusable { field, reason }| {
        InvalidUsage(format!("{}: {field}: {reason}", arguments.config.display()))
    })?;
    telemetry::start(config.logging.level, config.logging.format)?;
    raise_file_limit();
    Shutdown::listen()?.run(|drain| serve(config, credentials, drain)).await
}

async fn serve(config: ServeConfig, credentials: Credentials, drain: CancellationToken) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::new();
    let health = bind(config.health.listen, "probes and metrics").await?;
    let answering = CancellationToken::new();
    let mut probes = JoinSet::new();
    let service = Service::Health(Arc::new(Health::new(Arc::clone(&metrics), readiness.clone())));
    probes.spawn(Server::new(service, None, Arc::clone(&metrics), health_options()).serve(health, answering.clone()));
    let served = serve_registry(&config, credentials, &metrics, &readiness, &drain).await;
    answering.cancel();
    probes.join_all().await;
    served
}

async fn serve_registry(
    config: &ServeConfig,
    credentials: Credentials,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
    drain: &CancellationToken,
) -> anyhow::Result<()> {
    let directory = &config.storage.filesystem.directory;
    let options = options(&config.deletion, &config.descriptor_cache);
    let registry = tokio::select! {
        opened = OpenRegistry::open(directory, options, config.access_mode) => opened?,
        () = drain.cancelled() => return Ok(()),
    };
    let settings =
        Settings { access_mode: config.access_mode, max_manifest_size: config.limits.max_manifest_size.as_bytes() };
    let app = App::new(registry.catalog.clone(), settings, Arc::clone(metrics)).with_runs(registry.runs.clone());
    let listeners = listeners(config, credentials, &Arc::new(app)).await?;
    let mut servers = JoinSet::new();
    for (listener, service, tls) in listeners {
        let options = client_options(config.limits.drain_timeout.as_std());
        servers.spawn(Server::new(service, tls, Arc::clone(metrics), options).serve(listener, drain.clone()));
    }
    readiness.ready();
    tracing::info!(listen = %config.listen, directory = %directory.display(), "serving");
    drain.cancelled().await;
    readiness.draining();
    servers.join_all().await;
    registry.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The registry's listener, and the operator's where there is one.
async fn listeners(
    config: &ServeConfig,
    credentials: Credentials,
    app: &Arc<App>,
) -> anyhow::Result<Vec<(TcpListener, Service, Option<TlsIdentity>)>> {
    let Credentials { authenticator, tls, control } = credentials;
    let service = Service::Registry { app: Arc::clone(app), authenticator: Arc::new(authenticator) };
    let mut listeners = vec![(bind(config.listen, "the registry").await?, service, tls)];
    if let (Some(config), Some(identity)) = (&config.control, control) {
        let listener = bind(config.listen, "the operator").await?;
        listeners.push((listener, Service::Control { app: Arc::clone(app) }, Some(identity)));
    }
    Ok(listeners)
}

/// What the configuration's files hold.
struct Credentials {
    authenticator: Authenticator,
    tls: Option<TlsIdentity>,
    control: Option<TlsIdentity>,
}

/// A field whose file cannot be used.
struct Unusable {
    field: &'static str,
    reason: String,
}

impl Credentials {
    fn load(config: &ServeConfig) -> Result<Self, Unusable> {
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

fn unusable(field: &'static str) -> impl FnOnce(LoadError) -> Unusable {
    // `#` prints the causes, too.
    move |error| Unusable { field, reason: format!("{:#}", anyhow::Error::new(error)) }
}
