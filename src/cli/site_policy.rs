//! The policies that files have of one registry.

use crate::api::v1alpha1::RetentionPolicySpec;
use crate::api::wire::PolicySource;
use crate::oci::{Algorithm, Digest};
use crate::retention::Policy;

use super::exit::InvalidUsage;
use super::objects::{Declared, Key, Objects};

/// A policy of a registry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SitePolicy {
    /// As the registry's runs take it.
    pub(super) source: PolicySource,
    /// The annotation that asks for a run, each value once.
    pub(super) run_at: Option<String>,
    /// The annotation that approves the plan whose hash it has.
    pub(super) approve: Option<String>,
}

/// The policies of a registry.
///
/// # Errors
/// Names the policy, the field and what would be right.
pub(super) fn policies(objects: &Objects, registry: &Key) -> Result<Vec<SitePolicy>, InvalidUsage> {
    let mut policies = Vec::new();
    for ((namespace, name), Declared { object, place, .. }) in &objects.policies {
        if *namespace != registry.0 || object.spec.registry_ref.name != registry.1 {
            continue;
        }
        let source = PolicySource {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: format!("{namespace}.{name}"),
            generation: generation(&object.spec),
            spec: object.spec.clone(),
        };
        let wrong = |reason: String| InvalidUsage(format!("{place}: RetentionPolicy {name}: {reason}"));
        Policy::try_from(&source).map_err(|error| wrong(error.to_string()))?;
        source.spec.compile_schedule().map_err(|error| wrong(error.to_string()))?;
        let annotations = object.metadata.annotations.as_ref();
        let annotation = |name: &str| annotations.and_then(|annotations| annotations.get(name)).cloned();
        let (run_at, approve) = (annotation("lagan.dev/run-at"), annotation("lagan.dev/approve"));
        policies.push(SitePolicy { source, run_at, approve });
    }
    Ok(policies)
}

/// Files count no generations: a number for each spec that decides otherwise. A hold only keeps, so that a plan that
/// waits can be approved all the same.
fn generation(spec: &RetentionPolicySpec) -> i64 {
    let apart_from_holds = RetentionPolicySpec { holds: Vec::new(), ..spec.clone() };
    let text = serde_json::to_vec(&apart_from_holds).unwrap_or_default();
    let digest = Digest::of(Algorithm::Sha256, &text);
    i64::from_str_radix(digest.hex().get(..15).unwrap_or_default(), 16).unwrap_or_default()
}
