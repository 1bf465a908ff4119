//! What wakes the controller: Registries, their annotations, and the time.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::runtime::{
    Controller,
    controller::{Action, Config},
    reflector::ObjectRef,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::v1alpha1::Registry;
use crate::operator::{
    connection::watch_config, context::Context, metrics::ControllerName, registries::Registries, scoped_api,
    trigger_backoff::TriggerBackoff,
};

use super::reconcile::{Error, Reconciler};

/// A failed look is tried again after this: long enough not to burden an API server that is down.
const RETRY: Duration = Duration::from_secs(30);
/// Changes that come together, such as those of a rollout, are one look.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// So many Registries are looked at at a time: each look is two or three requests.
const CONCURRENCY: u16 = 8;

/// Runs the controller in one namespace, or in all of them, until `stop` is cancelled.
///
/// # Cancel safety
/// A look is cut off where it waits. The registry knows how far its collection is, and whoever leads next asks it.
pub async fn run(context: Context, namespace: Option<String>, stop: CancellationToken) {
    let api = scoped_api::<Registry>(&context.client, namespace.as_deref());
    let reconciler =
        Arc::new(Guarded { reconciler: Reconciler { context, registries: Registries::ByName }, stop: stop.clone() });
    Controller::new(api, watch_config())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .trigger_backoff(TriggerBackoff)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, |_, _, _| Action::requeue(RETRY), reconciler)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// A reconciler that is cut off when this replica leads no longer.
struct Guarded {
    reconciler: Reconciler,
    stop: CancellationToken,
}

#[tracing::instrument(skip_all, fields(object.ref = %ObjectRef::from_obj(&*registry)))]
async fn reconcile(registry: Arc<Registry>, guarded: Arc<Guarded>) -> Result<Action, Error> {
    let started = Instant::now();
    let reconciler = &guarded.reconciler;
    let Some(outcome) = guarded.stop.run_until_cancelled(Box::pin(reconciler.reconcile(registry))).await else {
        return Ok(Action::await_change());
    };
    if let Err(error) = &outcome {
        tracing::warn!(error = error as &(dyn StdError + 'static), "could not look at the garbage");
    }
    reconciler.context.count(ControllerName::GarbageCollection, &outcome, started.elapsed());
    outcome
}
