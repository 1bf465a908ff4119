//! The other policies of the Registry: what they hold counts when one of them runs.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::v1alpha1::{HoldStatus, RetentionPolicy, RetentionPolicyStatus};
use crate::operator::registry_client::RegistryClient;
use crate::retention;

use super::{
    assess::source,
    holds,
    reconcile::{Error, Reconciler},
};

/// So often a status is written anew that somebody else had written meanwhile.
const ATTEMPTS: u32 = 3;

impl Reconciler {
    /// The policies of a policy's Registry, itself among them, as the cache has them.
    pub(super) fn siblings(&self, policy: &RetentionPolicy) -> Vec<Arc<RetentionPolicy>> {
        self.policies.state_filter(|other| {
            other.metadata.namespace == policy.metadata.namespace && other.spec.registry_ref == policy.spec.registry_ref
        })
    }

    /// Those but itself.
    pub(super) fn others(&self, policy: &RetentionPolicy) -> impl Iterator<Item = Arc<RetentionPolicy>> {
        let own = policy.uid();
        self.siblings(policy).into_iter().filter(move |other| other.uid() != own)
    }

    /// Another policy of the Registry that is being run.
    pub(super) fn running_sibling(&self, policy: &RetentionPolicy) -> Option<String> {
        let is_running = |other: &Arc<RetentionPolicy>| {
            let last = other.status.as_ref().and_then(|status| status.last_run.as_ref());
            last.is_some_and(|last| last.completion_time.is_none())
        };
        self.others(policy).find(is_running).map(|other| other.name_any())
    }

    /// Restores what the other policies of the Registry hold, before this one runs: those that are suspended have no
    /// runs of their own. Their statuses say what became of it.
    pub(super) async fn restore_for_siblings(
        &self,
        policy: &RetentionPolicy,
        registry: &RegistryClient,
    ) -> Result<(), Error> {
        for other in self.others(policy).filter(|other| !other.spec.holds.is_empty()) {
            self.restore_for(&other, registry).await?;
        }
        Ok(())
    }

    async fn restore_for(&self, policy: &RetentionPolicy, registry: &RegistryClient) -> Result<(), Error> {
        let mut said: Option<Vec<HoldStatus>> = None;
        for _ in 0..ATTEMPTS {
            let Some(live) = self.live(policy).await? else { return Ok(()) };
            if live.uid() != policy.uid() || live.metadata.deletion_timestamp.is_some() {
                return Ok(());
            }
            // What an invalid policy holds is not known; it blocks the run.
            let Ok(compiled) = retention::Policy::try_from(&source(&live)) else { return Ok(()) };
            let status = live.status.clone().unwrap_or_default();
            let before = said.as_ref().unwrap_or(&status.holds);
            let mut holds = holds::restore(Ok(registry), &compiled.holds, before, self.context.now()).await;
            if let Some(running) = self.running_sibling(&live) {
                holds::leave_open(&mut holds, &running);
            }
            match self.write(&live, RetentionPolicyStatus { holds: holds.clone(), ..status }).await {
                // What was restored is said to be, also if it is there by now.
                Err(Error::Stale) => said = Some(holds),
                written => return written.map(drop),
            }
        }
        Err(Error::Stale)
    }
}
