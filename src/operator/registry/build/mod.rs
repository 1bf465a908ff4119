//! The objects that a Registry becomes. Pure: what they depend on is handed in.

mod claim;
mod config_map;
mod deployment;
mod disruption_budget;
mod service;
mod volumes;
#[cfg(test)]
mod tests;

pub use claim::{claim, claim_patch};
pub use deployment::image;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use config_map::config_hash;

use super::{endpoints::Endpoints, validate::ValidRegistry};
use crate::api::FieldError;
use crate::operator::labels;

/// What is not in the spec, and decides what is built.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The operator's own image.
    pub operator_image: &'a str,
    /// The certificates that clients must trust, in PEM; none with a certificate of somebody else's that does
    /// not say, or without TLS.
    pub ca_bundle: Option<&'a str>,
    /// Where the registry is reached.
    pub endpoints: &'a Endpoints,
    /// A hash of the Secrets and `ConfigMap`s that the spec refers to and that pods read when they start only.
    pub referred_hash: Option<&'a str>,
}

/// All objects of a Registry, but for its claim and its Secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// The configuration, what clients must trust, what nodes need.
    pub config_maps: Vec<ConfigMap>,
    /// The one for clients and the one for the operator.
    pub services: Vec<Service>,
    /// The workload.
    pub deployment: Deployment,
    /// The bound on evictions, if there is to be one.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// The hash of the configuration, which is in the workload's pod template.
    pub config_hash: String,
}

/// The objects of a Registry cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the spec is wrong.
    #[error("the spec cannot be acted on")]
    Spec(#[from] FieldError),
    /// The configuration could not be written as YAML.
    #[error("could not write the configuration")]
    Yaml(#[from] serde_yaml::Error),
}

/// Builds them.
///
/// # Errors
///
/// When a field of the spec is wrong, or the configuration cannot be written as YAML.
pub fn build(registry: &ValidRegistry, inputs: &Inputs<'_>) -> Result<Objects, Error> {
    let file = config_map::file(registry)?;
    let mut config_maps = vec![config_map::config(registry, file.clone())];
    config_maps.extend(config_map::authorities(registry, inputs));
    config_maps.extend(config_map::node_trust(registry, inputs));
    let services = vec![service::registry(registry), service::control(registry)];
    let config_hash = config_hash(&file);
    let deployment = deployment::deployment(registry, inputs, &config_hash);
    let disruption_budget = disruption_budget::disruption_budget(registry);
    Ok(Objects { config_maps, services, deployment, disruption_budget, config_hash })
}

/// The metadata of an object that goes with its Registry.
#[must_use]
pub fn owned(registry: &ValidRegistry, name: String) -> ObjectMeta {
    ObjectMeta { owner_references: Some(vec![registry.owner.clone()]), ..kept(registry, name) }
}

/// The metadata of an object that outlives its Registry.
#[must_use]
pub fn kept(registry: &ValidRegistry, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(registry.namespace.clone()),
        labels: Some(labels::of(&registry.name)),
        ..ObjectMeta::default()
    }
}
