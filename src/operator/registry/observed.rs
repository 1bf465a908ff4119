//! What the cluster holds of a Registry: the step *dereference*.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Node, PersistentVolumeClaim, Secret, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, Client, Resource, runtime::reflector::Store};

use crate::api::v1alpha1::Registry;
use crate::operator::{
    apply,
    labels::{Ownership, ownership},
};

use super::{
    endings::{Ending, endings},
    endpoints::node_addresses,
    referred::Referred,
    validate::{Storage, Tls, Users, ValidRegistry},
};

/// What the operator made, as the API server last said, and the nodes.
#[derive(Clone)]
pub struct Caches {
    /// Workloads.
    pub deployments: Store<Deployment>,
    /// Services.
    pub services: Store<Service>,
    /// `ConfigMap`s.
    pub config_maps: Store<ConfigMap>,
    /// Claims.
    pub claims: Store<PersistentVolumeClaim>,
    /// Bounds on evictions.
    pub disruption_budgets: Store<PodDisruptionBudget>,
    /// All nodes; none if the operator may not see them.
    pub nodes: Option<Store<Node>>,
}

/// What there is of one Registry.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The workload.
    pub deployment: Option<Deployment>,
    /// The bound on evictions.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// The Service for clients.
    pub service: Option<Service>,
    /// The claim that content lies on, whoever made it.
    pub claim: Option<PersistentVolumeClaim>,
    /// The addresses of the nodes.
    pub nodes: Vec<IpAddr>,
    /// The Secret that `tls.secretRef` names.
    pub tls_secret: Option<Secret>,
    /// The Secret that `auth.htpasswd` names.
    pub users_secret: Option<Secret>,
    /// What the spec refers to for object storage and Redis.
    pub referred: Referred,
    /// What the pods' containers said when they last ended, where they do not become ready.
    pub endings: Vec<Ending>,
    /// The certificates to trust, once the operator has made them.
    pub ca_bundle: Option<String>,
    /// The hash of the configuration that was written.
    pub config_hash: Option<String>,
}

/// Reads it.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn dereference(client: &Client, caches: &Caches, registry: &ValidRegistry) -> Result<Observed, apply::Error> {
    let (namespace, name) = (registry.namespace.as_str(), registry.name.as_str());
    let claim = match &registry.storage {
        Storage::ExistingClaim(claim) | Storage::MadeClaim { name: claim, .. } => {
            apply::live(client, &caches.claims, namespace, claim).await?
        }
        Storage::EmptyDir | Storage::Bucket => None,
    };
    let deployment = apply::live(client, &caches.deployments, namespace, name).await?;
    let answering = deployment.as_ref().and_then(|deployment: &Deployment| deployment.status.as_ref()?.ready_replicas);
    let waits = answering.unwrap_or(0) < registry.spec.replicas || is_rolling(deployment.as_ref());
    Ok(Observed {
        endings: if waits { endings(client, registry).await? } else { Vec::new() },
        disruption_budget: match registry.spec.replicas {
            0 | 1 => None,
            _ => apply::live(client, &caches.disruption_budgets, namespace, name).await?,
        },
        deployment,
        service: apply::live(client, &caches.services, namespace, name).await?,
        claim,
        nodes: caches.nodes.as_ref().map(|nodes| node_addresses(&nodes.state())).unwrap_or_default(),
        tls_secret: match &registry.tls {
            Tls::Secret(name) => secret(client, namespace, name).await?,
            Tls::Disabled | Tls::SelfSigned => None,
        },
        users_secret: match &registry.users {
            Users::Secret { name, .. } => secret(client, namespace, name).await?,
            Users::Admin | Users::Everybody => None,
        },
        referred: Referred::read(client, registry).await?,
        ca_bundle: None,
        config_hash: None,
    })
}

/// Whether not all pods are of the newest kind yet.
fn is_rolling(deployment: Option<&Deployment>) -> bool {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    status.is_some_and(|status| status.updated_replicas.unwrap_or(0) < status.replicas.unwrap_or(0))
}

/// Somebody's Secret. Secrets are in no cache.
pub(super) async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, apply::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|source| apply::Error::api::<Secret>("read", name, source))
}

/// The objects of a cache that were made for a Registry.
#[must_use]
pub fn children<K>(cache: &Store<K>, registry: &Registry) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    cache.state_filter(|child| {
        child.meta().namespace == registry.metadata.namespace
            && child.meta().owner_references.is_some()
            && ownership(child.meta(), registry) == Ownership::Ours
    })
}
