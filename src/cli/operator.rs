//! `lagan operator`

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::api::v1alpha1::{LogFormat, LogLevel};
use crate::operator;
use crate::operator::config::{OperatorConfig, WatchScope};
use crate::storage::Clock;

use super::clock::SystemClock;
use super::listener::raise_file_limit;
use super::shutdown::Shutdown;
use super::telemetry;

/// Run the operator: make registries of `Registry` objects, and run `RetentionPolicy` objects. The chart runs this.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image that registries run where they name none: the operator's own.
    #[arg(long, env = "LAGAN_IMAGE")]
    image: String,
    /// Namespace of the Lease by which replicas elect a leader.
    #[arg(long, env = "POD_NAMESPACE", default_value = "lagan-system")]
    namespace: String,
    /// Name of this replica in the Lease.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Namespaces to serve, with commas between them. Empty: all of them.
    #[arg(long, value_name = "NAMES", env = "LAGAN_WATCH_NAMESPACES", default_value = "")]
    watch_namespaces: String,
    /// Address of probes and metrics.
    #[arg(long, value_name = "ADDRESS", env = "LAGAN_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Least important lines to write to the log.
    #[arg(long, value_enum, ignore_case = true, env = "LAGAN_LOG_LEVEL", default_value = "info")]
    log_level: Level,
    /// How to write the log.
    #[arg(long, value_enum, ignore_case = true, env = "LAGAN_LOG_FORMAT", default_value = "text")]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// Runs the operator until a signal, and until it has given its Lease back.
///
/// # Errors
/// If there is no cluster to talk to, or its port is taken.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(arguments.log_level.into(), arguments.log_format.into(), None)?;
    raise_file_limit();
    let identity = match arguments.identity {
        Some(identity) => identity,
        None => host_name().context("could not find out this machine's name: give --identity")?,
    };
    let config = OperatorConfig {
        image: arguments.image,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        scope: WatchScope::from_list(&arguments.watch_namespaces),
        lease_namespace: arguments.namespace,
        identity,
        listen: arguments.listen,
    };
    let now = Arc::new(|| SystemClock.now());
    let shutdown = Shutdown::listen()?;
    shutdown.run(|stop| async move { operator::run(config, now, stop).await.context("the operator ended") }).await
}

/// The name that tells replicas on two machines apart.
fn host_name() -> anyhow::Result<String> {
    Ok(rustix::system::uname().nodename().to_str()?.to_owned())
}
