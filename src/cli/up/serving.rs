//! Serves one registry of `lagan up` until it is stopped.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::serve_config::{ServeConfig, StorageConfig};
use crate::api::wire::PolicySource;
use crate::cli::clock::SystemClock;
use crate::cli::credentials::Credentials;
use crate::cli::listener::{Purpose, bind};
use crate::cli::output;
use crate::cli::probes::Probes;
use crate::cli::registry_folder::is_untouched;
use crate::cli::registry_server::RegistryServer;
use crate::http::Metrics;
use crate::storage::Clock;

use super::announcement::announcement;
use super::keys::Keys;
use super::policies::{DeclaredPolicies, PolicyLoop};
use super::site::Site;

/// Whoever waits for longer wants to know what for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Certificates are good for months; a look a day replaces them in time.
const KEYS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Serves a registry and runs its policies until `stop` is cancelled and its requests are answered.
///
/// # Errors
/// If it cannot be started.
pub(super) async fn serve(
    site: Site,
    policies: watch::Receiver<DeclaredPolicies>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let is_first = is_untouched(&site.folder);
    if is_first {
        // Before anything is written: a start that fails leaves nothing behind.
        drop(bind(site.config.listen, Purpose::Registry).await.with_context(|| site.name())?);
    }
    let metrics = Arc::new(Metrics::new());
    let probes = match site.health {
        Some(listen) => Some(Probes::start(listen, &metrics).await.with_context(|| site.name())?),
        None => None,
    };
    let existing = site.folder.ancestors().find(|folder| folder.exists()).map(Path::to_owned);
    let (keys, config) = Keys::prepare(&site, SystemClock.now())?;
    let credentials = match Credentials::load(&config) {
        Ok(credentials) => credentials,
        Err(error) => {
            if is_first {
                keys.discard(existing.as_deref());
            }
            return Err(anyhow::Error::new(error).context(site.name()));
        }
    };
    let observed = (&metrics, probes.as_ref());
    // Large, and alone for as long as the process runs.
    let served = Box::pin(serve_registry(&site, (&keys, &config), credentials, policies, observed, &stop)).await;
    if let Some(probes) = probes {
        probes.finish().await;
    }
    served
}

async fn serve_registry(
    site: &Site,
    (keys, config): (&Keys, &ServeConfig),
    credentials: Credentials,
    policies: watch::Receiver<DeclaredPolicies>,
    (metrics, probes): (&Arc<Metrics>, Option<&Probes>),
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let told = AtomicBool::new(false);
    let tell = |what: &str| {
        told.store(true, Ordering::Relaxed);
        // A terminal that is gone must not stop a registry.
        let _ = output::print(&format!("{}: {what}", site.name()));
    };
    let mut starting = std::pin::pin!(RegistryServer::start(config, credentials, metrics, stop, &tell));
    let started = tokio::select! {
        started = &mut starting => started,
        () = tokio::time::sleep(PATIENCE) => {
            if !told.load(Ordering::Relaxed) {
                tell(patience(&site.config.storage));
            }
            starting.await
        }
    };
    let started = started.with_context(|| format!("could not serve {}", site.name()))?;
    let Some(server) = started else { return Ok(()) };
    output::print(&announcement(site, keys, server.address)?)?;
    if let Some(probes) = probes {
        output::print(&format!("  metrics: http://{}/metrics", probes.address))?;
        probes.readiness.ready();
    }
    for policy in &policies.borrow().all {
        output::print(&format!("  policy:  {}", described(&policy.source)))?;
    }
    tokio::join!(PolicyLoop::run(&server.registry, policies, stop), renew_keys(site, stop));
    if let Some(probes) = probes {
        probes.readiness.draining();
    }
    server.finish().await;
    Ok(())
}

/// What takes long where nobody holds a folder.
fn patience(storage: &StorageConfig) -> &'static str {
    if storage.directory().is_some() {
        "not ready yet: what lies in the folder is looked at first"
    } else {
        "not ready yet: half a minute must pass in which no other lagan is seen at the bucket"
    }
}

fn described(policy: &PolicySource) -> String {
    let PolicySource { name, spec, .. } = policy;
    let suspended = if spec.suspend { ", suspended" } else { "" };
    format!("{name}, {:?}, at {:?} ({}){suspended}", spec.mode, spec.schedule, spec.time_zone)
}

/// Replaces certificates before they end. The listener reads them again by itself.
async fn renew_keys(site: &Site, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(KEYS_EVERY) => {}
        }
        if let Err(error) = Keys::prepare(site, SystemClock.now()) {
            tracing::error!("could not renew the certificate of {}: {error:#}", site.name());
        }
    }
}
