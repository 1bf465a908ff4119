//! What wakes the controller of `RetentionPolicy`: policies, their annotations, their Registries, and the time.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::{ObjectRef, Store},
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::v1alpha1::{Registry, RetentionPolicy};
use crate::operator::{
    connection::watch_config, context::Context, metrics::ControllerName, registries::Registries, scoped_api,
    trigger_backoff::TriggerBackoff,
};

use super::{
    hold_looks::HoldLooks,
    reconcile::{Error, Reconciler},
};

/// A failed reconciliation is tried again after this: long enough not to burden an API server that is down.
const RETRY: Duration = Duration::from_secs(5);
/// One that met a newer object is tried again after this: the newer object arrives by itself, but for accidents.
const RETRY_STALE: Duration = Duration::from_secs(1);
/// Changes that come together, such as a spec's and an annotation's, are one reconciliation.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// So many policies are reconciled at a time, each for seconds, or minutes where the cluster is large: lists of it
/// are what takes the API server's strength.
const CONCURRENCY: u16 = 16;

/// Runs the controller in one namespace, or in all of them, until `stop` is cancelled.
///
/// # Cancel safety
/// What it was doing is cut off where it waits. The registry knows how far its runs are, and whoever leads next goes
/// on with them.
pub async fn run(context: Context, namespace: Option<String>, stop: CancellationToken) {
    let policies = scoped_api::<RetentionPolicy>(&context.client, namespace.as_deref());
    let registries = scoped_api::<Registry>(&context.client, namespace.as_deref());
    let controller = Controller::new(policies.clone(), watch_config())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .trigger_backoff(TriggerBackoff);
    let store = controller.store();
    let (of_registry, of_policy) = (store.clone(), store.clone());
    let _told = context.metrics.policies.watch(store.clone());
    let reconciler = Arc::new(Guarded {
        reconciler: Reconciler {
            context,
            policies: store,
            registries: Registries::ByName,
            looks: HoldLooks::default(),
        },
        stop: stop.clone(),
    });
    controller
        .watches(registries, watch_config(), move |registry| {
            policies_of(&of_registry, registry.namespace().as_deref(), &registry.name_any())
        })
        // A policy that becomes invalid blocks the others of its Registry.
        .watches(policies, watch_config(), move |policy| {
            policies_of(&of_policy, policy.namespace().as_deref(), &policy.spec.registry_ref.name)
        })
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, |_, error, _| Action::requeue(retry(error)), reconciler)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// A reconciler that is cut off when this replica leads no longer.
struct Guarded {
    reconciler: Reconciler,
    stop: CancellationToken,
}

fn retry(error: &Error) -> Duration {
    match error {
        Error::Stale => RETRY_STALE,
        Error::Api { .. } | Error::Policies(_) => RETRY,
    }
}

#[tracing::instrument(skip_all, fields(object.ref = %ObjectRef::from_obj(&*policy)))]
async fn reconcile(policy: Arc<RetentionPolicy>, guarded: Arc<Guarded>) -> Result<Action, Error> {
    let started = Instant::now();
    let reconciler = &guarded.reconciler;
    let Some(outcome) = guarded.stop.run_until_cancelled(Box::pin(reconciler.reconcile(policy))).await else {
        return Ok(Action::await_change());
    };
    match &outcome {
        Err(Error::Stale) => return outcome,
        Err(error) => tracing::warn!(error = error as &(dyn StdError + 'static), "could not reconcile"),
        Ok(_) => {}
    }
    reconciler.context.count(ControllerName::RetentionPolicy, &outcome, started.elapsed());
    outcome
}

/// The policies of a Registry.
fn policies_of(
    policies: &Store<RetentionPolicy>,
    namespace: Option<&str>,
    registry: &str,
) -> Vec<ObjectRef<RetentionPolicy>> {
    let of_registry = |policy: &RetentionPolicy| {
        policy.metadata.namespace.as_deref() == namespace && policy.spec.registry_ref.name == registry
    };
    policies.state_filter(of_registry).iter().map(|policy| ObjectRef::from_obj(&**policy)).collect()
}
