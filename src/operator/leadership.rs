//! Which replica acts: the one that holds the Lease.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{config::OperatorConfig, metrics::Metrics};

/// The Lease's name.
const LEASE: &str = "lagan-operator";
/// A leader that is gone without a word is replaced after this, in seconds.
const LEASE_SECONDS: u64 = 15;
/// A leader renews this long before its Lease ends, in seconds; it has as long to reach the API server.
const GRACE_SECONDS: u64 = 6;
/// Between attempts to reach the API server.
const RETRY: Duration = Duration::from_secs(1);

/// Holds the Lease while `lead` runs.
///
/// `lead` is started whenever this replica becomes the leader, with a token that is cancelled when it no longer
/// is, or when `stop` is; it ends then. The Lease is released when `stop` is cancelled, after `lead` has ended.
///
/// # Errors
///
/// When the Lease cannot be released.
pub(super) async fn run<F>(
    client: Client,
    config: &OperatorConfig,
    metrics: &Metrics,
    stop: &CancellationToken,
    lead: impl Fn(CancellationToken) -> F,
) -> Result<(), LeaseManagerError>
where
    F: Future<Output = ()>,
{
    while !stop.is_cancelled() {
        // A new one for each term: a manager that could not reach the API server still believes that it leads.
        let Some(manager) = stop.run_until_cancelled(manager(client.clone(), config)).await else { break };
        if stop.run_until_cancelled(wait_for(&manager, true)).await.is_none() {
            break;
        }
        tracing::info!(identity = config.identity, "this replica leads");
        metrics.set_leader(true);
        let term = stop.child_token();
        let mut leading = std::pin::pin!(lead(term.clone()));
        // The Lease must be renewed while `lead` ends, too: it may be in the middle of a write.
        tokio::select! {
            () = &mut leading => {}
            () = wait_for(&manager, false) => {
                term.cancel();
                leading.await;
            }
        }
        metrics.set_leader(false);
        tracing::info!(identity = config.identity, "this replica leads no longer");
        if stop.is_cancelled() {
            return manager.release().await;
        }
    }
    Ok(())
}

/// Makes the Lease if it is not there. The API server may not answer yet: that is tried again.
async fn manager(client: Client, config: &OperatorConfig) -> LeaseManager {
    loop {
        let builder = LeaseManagerBuilder::new(client.clone(), LEASE)
            .with_namespace(&config.lease_namespace)
            .with_identity(&config.identity)
            .with_duration(LEASE_SECONDS)
            .with_grace(GRACE_SECONDS);
        match builder.build().await {
            Ok(manager) => return manager,
            Err(error) => {
                tracing::warn!(error = &error as &(dyn std::error::Error + 'static), "could not open the Lease");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Waits until this replica holds the Lease, or until it does no longer. Renews it meanwhile.
///
/// A leader that cannot reach the API server for as long as its Lease is sure to last leads no longer.
async fn wait_for(manager: &LeaseManager, wanted: bool) {
    let mut failing_since: Option<Instant> = None;
    loop {
        match manager.changed().await {
            Ok(holds) if holds == wanted => return,
            Ok(_) => failing_since = None,
            Err(error) => {
                tracing::warn!(error = &error as &(dyn std::error::Error + 'static), "could not renew the Lease");
                let since = *failing_since.get_or_insert_with(Instant::now);
                if !wanted && since.elapsed() >= Duration::from_secs(GRACE_SECONDS).saturating_sub(RETRY) {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
