//! The bound on evictions, where there are replicas to be kept.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::owned;
use crate::api::v1alpha1::PodDisruptionBudgetMode;
use crate::operator::labels;
use crate::operator::registry::validate::ValidRegistry;

/// One pod at a time may be evicted, if there are two or more: with one, it would keep a node from being drained.
pub(super) fn disruption_budget(registry: &ValidRegistry) -> Option<PodDisruptionBudget> {
    let spec = &registry.spec;
    if spec.replicas < 2 || spec.pod_disruption_budget.mode == PodDisruptionBudgetMode::Disabled {
        return None;
    }
    let selector = LabelSelector { match_labels: Some(labels::selector(&registry.name)), match_expressions: None };
    let budget = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(selector),
        // A pod that does not become ready is no reason to keep a node.
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    Some(PodDisruptionBudget { metadata: owned(registry, registry.name.clone()), spec: Some(budget), status: None })
}
