//! How the operator recognises what it made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::v1alpha1::Registry;

/// The value of [`MANAGED_BY`] on everything that the operator made, and the name of its field manager.
pub const OPERATOR: &str = "lagan-operator";
/// Who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The Registry that an object was made for. It outlives the Registry on claims and on some Secrets, and lets a
/// Registry of the same name find them again.
pub const REGISTRY: &str = "lagan.dev/registry";

const NAME: &str = "app.kubernetes.io/name";
const INSTANCE: &str = "app.kubernetes.io/instance";
const COMPONENT: &str = "app.kubernetes.io/component";

/// The selector of watches: everything that the operator made.
#[must_use]
pub fn managed_selector() -> String {
    format!("{MANAGED_BY}={OPERATOR}")
}

/// The labels that select a Registry's pods. They never change: a Deployment's selector cannot.
#[must_use]
pub fn selector(registry: &str) -> BTreeMap<String, String> {
    labels(&[(NAME, "lagan"), (INSTANCE, registry), (COMPONENT, "registry")])
}

/// The labels of everything that is made for a Registry.
#[must_use]
pub fn of(registry: &str) -> BTreeMap<String, String> {
    let mut all = selector(registry);
    all.extend(labels(&[(MANAGED_BY, OPERATOR), (REGISTRY, registry)]));
    all
}

/// [`selector`] as one text, for the scale subresource.
#[must_use]
pub fn selector_text(registry: &str) -> String {
    let terms: Vec<String> = selector(registry).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    terms.join(",")
}

/// The Registry that an object of the operator's was made for.
#[must_use]
pub fn registry_of(meta: &ObjectMeta) -> Option<&str> {
    let labels = meta.labels.as_ref()?;
    (labels.get(MANAGED_BY)?.as_str() == OPERATOR).then(|| labels.get(REGISTRY).map(String::as_str)).flatten()
}

/// Whose an object is that has the name of one of a Registry's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The Registry's.
    Ours,
    /// It belongs to a deleted Registry of the same name, and goes with it.
    Former,
    /// Somebody else's: it is never written.
    Foreign,
}

/// Whose `meta`'s object is, seen from `registry`.
///
/// An object without a controlling owner is the Registry's if its labels say so: claims and some Secrets outlive
/// their Registry that way.
#[must_use]
pub fn ownership(meta: &ObjectMeta, registry: &Registry) -> Ownership {
    if registry_of(meta) != Some(registry.name_any().as_str()) {
        return Ownership::Foreign;
    }
    let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    match controller {
        None => Ownership::Ours,
        Some(owner) if Some(&owner.uid) == registry.meta().uid.as_ref() => Ownership::Ours,
        Some(owner) if owner.kind == "Registry" && owner.name == registry.name_any() => Ownership::Former,
        Some(_) => Ownership::Foreign,
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::new("main", serde_json::from_str("{}").unwrap());
        registry.metadata.uid = Some("1".to_owned());
        registry
    }

    fn owned_by(kind: &str, name: &str, uid: &str) -> ObjectMeta {
        let owner = OwnerReference {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta { labels: Some(of("main")), owner_references: Some(vec![owner]), ..ObjectMeta::default() }
    }

    #[test]
    fn ownership_follows_labels_and_the_controlling_owner() {
        let unowned = ObjectMeta { labels: Some(of("main")), ..ObjectMeta::default() };
        let other = ObjectMeta { labels: Some(of("other")), ..ObjectMeta::default() };
        for (meta, expected) in [
            (unowned, Ownership::Ours),
            (other, Ownership::Foreign),
            (ObjectMeta::default(), Ownership::Foreign),
            (owned_by("Registry", "main", "1"), Ownership::Ours),
            (owned_by("Registry", "main", "0"), Ownership::Former),
            (owned_by("StatefulSet", "main", "9"), Ownership::Foreign),
        ] {
            assert_eq!(ownership(&meta, &registry()), expected, "{meta:?}");
        }
    }

    #[test]
    fn selector_is_part_of_the_labels() {
        let all = of("main");
        assert!(selector("main").iter().all(|(key, value)| all.get(key) == Some(value)));
        assert_eq!(registry_of(&ObjectMeta { labels: Some(all), ..ObjectMeta::default() }), Some("main"));
    }
}
