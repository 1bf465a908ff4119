//! The operator: three controllers, the objects that they build, their status.
//!
//! [`run`] is all of it: probes and metrics on every replica, the controllers on the one that holds the Lease.
//!
//! What it may do in a cluster is `charts/lagan/templates/rbac.yaml`, no more than the code here asks for:
//!
//! | where | objects | verbs |
//! |---|---|---|
//! | watched namespaces | registries, retentionpolicies | get, list, watch |
//! | watched namespaces | registries/status, retentionpolicies/status | patch |
//! | watched namespaces | deployments, services, configmaps | get, list, watch, create, patch; configmaps: delete |
//! | watched namespaces | persistentvolumeclaims | get, list, watch, create, patch |
//! | watched namespaces | secrets | get, create, patch |
//! | watched namespaces | events (events.k8s.io) | create, patch |
//! | its own namespace | leases | get, create, patch |
//! | cluster | nodes | list, watch |
//! | cluster | pods, podtemplates, replicationcontrollers, deployments, replicasets, statefulsets, daemonsets, controllerrevisions, jobs, cronjobs | list |

pub mod apply;
pub mod certificates;
pub mod config;
mod connection;
pub mod context;
pub mod difference;
#[cfg(test)]
mod fixtures;
pub mod garbage_collection;
mod health;
pub mod in_use;
pub mod labels;
mod leadership;
pub mod metrics;
pub mod policy_metrics;
pub mod registries;
pub mod registry;
pub mod registry_client;
pub mod retention_policy;
mod trigger_backoff;

use std::{fmt::Debug, net::SocketAddr, sync::Arc};

use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use config::{Now, OperatorConfig};
use context::Context;
use metrics::Metrics;

/// The operator could not start, or not end in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster to talk to.
    #[error("could not find out how to reach the API server")]
    Client {
        /// Why.
        source: Box<kube::Error>,
    },
    /// The port of probes and metrics is taken.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Lease could not be released: the other replica waits for its end.
    #[error("could not release the Lease")]
    Lease {
        /// Why.
        source: Box<kube_lease_manager::LeaseManagerError>,
    },
}

/// Runs the operator until `stop` is cancelled, and what it was doing is done.
///
/// # Errors
///
/// See [`Error`].
pub async fn run(config: OperatorConfig, now: Now, stop: CancellationToken) -> Result<(), Error> {
    let client = connection::connect().await.map_err(|source| Error::Client { source: Box::new(source) })?;
    let address = config.listen;
    let listener = health::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    run_with(client, listener, config, now, stop).await
}

/// [`run`] with an API server and a port that are chosen already.
///
/// # Errors
///
/// When the Lease cannot be released.
pub async fn run_with(
    client: Client,
    listener: TcpListener,
    config: OperatorConfig,
    now: Now,
    stop: CancellationToken,
) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::default());
    let context = Context::new(client.clone(), config.clone(), Arc::clone(&metrics), now);
    // Probes are answered until the Lease is released, and then no longer.
    let answering = CancellationToken::new();
    let leading = async {
        let led = leadership::run(client, &config, &metrics, &stop, |term| lead(context.clone(), term)).await;
        answering.cancel();
        led.map_err(|source| Error::Lease { source: Box::new(source) })
    };
    let (led, ()) = tokio::join!(leading, health::serve(listener, Arc::clone(&metrics), answering.clone()));
    led
}

/// What the leader does: all controllers, in every namespace that is watched.
async fn lead(context: Context, term: CancellationToken) {
    let parts = context.config.scope.parts();
    let all = |namespace: Option<String>| {
        let registries = registry::controller::run(context.clone(), namespace.clone(), term.clone());
        let collections = garbage_collection::controller::run(context.clone(), namespace.clone(), term.clone());
        let policies = retention_policy::controller::run(context.clone(), namespace, term.clone());
        async { tokio::join!(registries, collections, policies) }
    };
    join_all(parts.into_iter().map(all)).await;
}

/// The objects of a kind in one namespace, or in all of them.
pub(crate) fn scoped_api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
