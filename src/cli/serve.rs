//! `lagan serve --config FILE`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::serve_config::ServeConfig;
use crate::http::{Health, Metrics, Readiness, Server, Service};

use super::config::Config;
use super::credentials::Credentials;
use super::exit::InvalidUsage;
use super::listener::{bind, health_options, raise_file_limit};
use super::registry_server::RegistryServer;
use super::shutdown::Shutdown;
use super::telemetry;

/// Serve one registry, as a configuration file says. The operator's pods run this.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration, in YAML.
    #[arg(long, value_name = "FILE", env = "LAGAN_CONFIG")]
    config: PathBuf,
    /// Under which address other replicas of the same bucket reach this one's control listener; overrules
    /// `control.advertise` of the configuration.
    #[arg(long, value_name = "ADDRESS", env = "LAGAN_ADVERTISE")]
    advertise: Option<String>,
}

/// Serves until a signal, and then until requests in progress are answered.
///
/// The configuration and every file that it names is read before any port is bound. Then probes are answered: live, and
/// not ready for as long as another process holds the directory.
///
/// # Errors
/// [`InvalidUsage`] for the configuration; else what the system refuses.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config, arguments.advertise.as_deref())?.into_inner();
    let credentials = Credentials::load(&config)
        .map_err(|InvalidUsage(reason)| InvalidUsage(format!("{}: {reason}", arguments.config.display())))?;
    let telemetry = telemetry::start(config.logging.level, config.logging.format, config.tracing.as_ref())?;
    raise_file_limit();
    let served = Shutdown::listen()?.run(|drain| serve(config, credentials, drain)).await;
    telemetry.finish().await;
    served
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
    let Some(server) = RegistryServer::start(config, credentials, metrics, drain).await? else { return Ok(()) };
    readiness.ready();
    tracing::info!(listen = %server.address, storage = %config.storage, "serving");
    drain.cancelled().await;
    readiness.draining();
    server.finish().await;
    tracing::info!("stopped");
    Ok(())
}
