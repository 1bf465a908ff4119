//! `lagan serve --config FILE`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::api::serve_config::ServeConfig;
use crate::http::{Metrics, Readiness};

use super::config::Config;
use super::credentials::Credentials;
use super::exit::InvalidUsage;
use super::listener::raise_file_limit;
use super::probes::Probes;
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
    let probes = Probes::start(config.health.listen, &metrics).await?;
    let served = serve_registry(&config, credentials, &metrics, &probes.readiness, &drain).await;
    probes.finish().await;
    served
}

async fn serve_registry(
    config: &ServeConfig,
    credentials: Credentials,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
    drain: &CancellationToken,
) -> anyhow::Result<()> {
    let tell = &|what: &str| tracing::warn!("{what}");
    let Some(server) = RegistryServer::start(config, credentials, metrics, drain, tell).await? else { return Ok(()) };
    readiness.serving(server.registry.catalog.clone());
    readiness.ready();
    tracing::info!(listen = %server.address, storage = %config.storage, "serving");
    drain.cancelled().await;
    readiness.draining();
    server.finish().await;
    tracing::info!("stopped");
    Ok(())
}
