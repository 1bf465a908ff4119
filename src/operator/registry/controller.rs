//! What wakes the controller of `Registry`: its objects, what was made for them, and the nodes.

use std::{
    collections::hash_map::DefaultHasher,
    error::Error as StdError,
    fmt::Debug,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Node, PersistentVolumeClaim, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        Controller, PredicateConfig, WatchStreamExt,
        controller::{Action, Config},
        reflector,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::v1alpha1::{Registry, ServiceType};
use crate::operator::{
    config::WatchScope, connection::watch_config, context::Context, labels, metrics::ControllerName, scoped_api,
    trigger_backoff::TriggerBackoff,
};

use super::{
    endpoints::internal_address,
    observed::Caches,
    reconcile::{Error, Reconciler},
};

/// A failed reconciliation is tried again after this: long enough not to burden an API server that is down.
const RETRY: Duration = Duration::from_secs(10);
/// Changes that come together, such as a Deployment's, are one reconciliation.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// So many Registries are reconciled at a time.
const CONCURRENCY: u16 = 8;

/// Runs the controller in one namespace, or in all of them, until `stop` is cancelled and what it was doing is done.
pub async fn run(context: Context, namespace: Option<String>, stop: CancellationToken) {
    let api = scoped_api::<Registry>(&context.client, namespace.as_deref());
    let controller = Controller::new(api, watch_config())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .trigger_backoff(TriggerBackoff);
    let client = &context.client;
    let (deployments, deployment_events) = watch_children(scoped_api::<Deployment>(client, namespace.as_deref()));
    let (services, service_events) = watch_children(scoped_api::<Service>(client, namespace.as_deref()));
    let (config_maps, config_map_events) = watch_children(scoped_api::<ConfigMap>(client, namespace.as_deref()));
    let (claims, claim_events) = watch_children(scoped_api::<PersistentVolumeClaim>(client, namespace.as_deref()));
    let (budgets, budget_events) = watch_children(scoped_api::<PodDisruptionBudget>(client, namespace.as_deref()));
    let mut controller = controller
        .watches_stream(deployment_events, |child| registry_of(&child))
        .watches_stream(service_events, |child| registry_of(&child))
        .watches_stream(config_map_events, |child| registry_of(&child))
        .watches_stream(claim_events, |child| registry_of(&child))
        .watches_stream(budget_events, |child| registry_of(&child));
    let mut nodes = None;
    if context.config.scope == WatchScope::Cluster {
        let (store, events) = watch_nodes(Api::all(client.clone()));
        nodes = Some(store);
        let registries = controller.store();
        controller = controller.watches_stream(events, move |_: Node| on_node_ports(&registries));
    }
    let caches = Caches { deployments, services, config_maps, claims, disruption_budgets: budgets, nodes };
    let reconciler = Arc::new(Reconciler { context, caches });
    controller
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, |_, _, _| Action::requeue(RETRY), reconciler)
        .for_each(|_| std::future::ready(()))
        .await;
}

#[tracing::instrument(skip_all, fields(object.ref = %ObjectRef::from_obj(&*registry)))]
async fn reconcile(registry: Arc<Registry>, reconciler: Arc<Reconciler>) -> Result<Action, Error> {
    let started = Instant::now();
    let outcome = reconciler.reconcile(registry).await;
    if let Err(error) = &outcome {
        tracing::warn!(error = error as &(dyn StdError + 'static), "could not reconcile");
    }
    reconciler.context.count(ControllerName::Registry, &outcome, started.elapsed());
    outcome
}

/// A cache of what the operator made of one kind, and the changes to it.
fn watch_children<K>(api: Api<K>) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let config = watch_config().labels(&labels::managed_selector());
    let events = watcher(api, config)
        .default_backoff()
        .modify(|child| child.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects();
    (store, events)
}

/// A cache of the nodes' names and addresses, and the changes of addresses. A node's heartbeats change neither. A
/// node that is gone is noticed when a Registry is next looked at.
fn watch_nodes(api: Api<Node>) -> (Store<Node>, impl Stream<Item = Result<Node, watcher::Error>> + Send) {
    let (store, writer) = reflector::store();
    let events = watcher(api, watch_config())
        .default_backoff()
        .modify(|node| {
            node.managed_fields_mut().clear();
            node.annotations_mut().clear();
            if let Some(status) = &mut node.status {
                status.images = None;
                status.conditions = None;
            }
        })
        .reflect(writer)
        .touched_objects()
        .predicate_filter(|node: &Node| Some(address_hash(node)), PredicateConfig::default());
    (store, events)
}

fn address_hash(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    internal_address(node).hash(&mut hasher);
    hasher.finish()
}

fn registry_of<K: Resource<DynamicType = ()>>(child: &K) -> Option<ObjectRef<Registry>> {
    let name = labels::registry_of(child.meta())?;
    Some(ObjectRef::new(name).within(child.meta().namespace.as_deref()?))
}

/// The Registries whose certificates and endpoints name nodes.
fn on_node_ports(registries: &Store<Registry>) -> Vec<ObjectRef<Registry>> {
    let exposed = registries.state_filter(|registry| registry.spec.expose.service.type_ != ServiceType::ClusterIP);
    exposed.iter().map(|registry| ObjectRef::from_obj(&**registry)).collect()
}
