//! What the policies of a Registry count as in use, together.

use crate::api::v1alpha1::{
    CustomResourceImages, ExtraImages, InUseProtection, InUseScope, InUseSpec, RolloutHistory as HistorySpec,
};

/// What the policies of a Registry count as in use, together: what one of them keeps, none deletes.
///
/// # Guarantees
/// Whatever one of the policies asks for is asked. Those whose protection is Disabled ask for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    policies: Vec<String>,
    of_the_whole_cluster: Vec<String>,
    protects_history: bool,
    extra_images: Vec<Named<ExtraImages>>,
    custom_resources: Vec<Named<CustomResourceImages>>,
}

/// What a policy names besides the workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<T> {
    /// The policy's name.
    pub(super) policy: String,
    /// What it names.
    pub(super) what: T,
}

impl Demand {
    /// Of policies, by their names.
    #[must_use]
    pub fn of<'a>(policies: impl IntoIterator<Item = (String, &'a InUseSpec)>) -> Self {
        let mut all = Self::default();
        let asking = policies.into_iter().filter(|(_, spec)| spec.protection == InUseProtection::Enabled);
        asking.for_each(|(name, spec)| all.add(&name, spec));
        all
    }

    fn add(&mut self, policy: &str, spec: &InUseSpec) {
        self.policies.push(policy.to_owned());
        if spec.scope == InUseScope::Cluster {
            self.of_the_whole_cluster.push(policy.to_owned());
        }
        self.protects_history |= spec.rollout_history == HistorySpec::Protect;
        add_new(&mut self.extra_images, policy, &spec.extra_images_from);
        add_new(&mut self.custom_resources, policy, &spec.custom_resources);
    }

    /// Whether the cluster need not be asked.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether this policy is one of those that ask.
    #[must_use]
    pub fn is_of(&self, policy: &str) -> bool {
        self.policies.iter().any(|known| known == policy)
    }

    /// Which policies ask, for a sentence.
    #[must_use]
    pub fn policies(&self) -> String {
        self.policies.join(", ")
    }

    /// Which policies ask about the whole cluster, for a sentence.
    pub(super) fn of_the_whole_cluster(&self) -> String {
        self.of_the_whole_cluster.join(", ")
    }

    /// Which namespaces are asked.
    pub(super) fn scope(&self) -> InUseScope {
        if self.of_the_whole_cluster.is_empty() { InUseScope::WatchedNamespaces } else { InUseScope::Cluster }
    }

    /// Whether what a rollback would run is in use.
    pub(super) fn protects_history(&self) -> bool {
        self.protects_history
    }

    /// Further images.
    pub(super) fn extra_images(&self) -> &[Named<ExtraImages>] {
        &self.extra_images
    }

    /// Other kinds of objects.
    pub(super) fn custom_resources(&self) -> &[Named<CustomResourceImages>] {
        &self.custom_resources
    }
}

/// What two policies name need not be read twice.
fn add_new<T: Clone + PartialEq>(known: &mut Vec<Named<T>>, policy: &str, named: &[T]) {
    for what in named {
        if known.iter().all(|known| known.what != *what) {
            known.push(Named { policy: policy.to_owned(), what: what.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn demand(specs: &[(&str, Value)]) -> Demand {
        let specs: Vec<(String, InUseSpec)> = specs
            .iter()
            .map(|(name, spec)| ((*name).to_owned(), serde_json::from_value(spec.clone()).unwrap()))
            .collect();
        Demand::of(specs.iter().map(|(name, spec)| (name.clone(), spec)))
    }

    #[test]
    fn demand_of_several_policies_is_the_most_that_one_of_them_asks_for() {
        let narrow = json!({"scope": "WatchedNamespaces", "rolloutHistory": "Ignore"});
        let alone = demand(&[("a", narrow.clone())]);
        assert_eq!((alone.scope(), alone.protects_history()), (InUseScope::WatchedNamespaces, false));
        let both = demand(&[("a", narrow.clone()), ("b", json!({}))]);
        assert_eq!((both.scope(), both.protects_history()), (InUseScope::Cluster, true));
        assert_eq!((both.policies(), both.of_the_whole_cluster()), ("a, b".to_owned(), "b".to_owned()));
        assert!(both.is_of("a") && both.is_of("b") && !both.is_of("c"));
    }

    #[test]
    fn policy_whose_protection_is_disabled_asks_for_nothing() {
        let off = json!({"protection": "Disabled", "extraImagesFrom": [{"configMapRef": {"name": "edge"}}]});
        let narrow = json!({"scope": "WatchedNamespaces", "rolloutHistory": "Ignore"});
        assert!(demand(&[("a", off.clone())]).is_nothing());
        assert_eq!(demand(&[("a", off), ("b", narrow.clone())]), demand(&[("b", narrow)]));
    }

    #[test]
    fn what_any_policy_names_is_read_and_what_two_name_is_read_once() {
        let map = |name: &str| json!({"configMapRef": {"name": name}});
        let kind = json!({"apiVersion": "a.example.com/v1", "kind": "App", "paths": [".spec.image"]});
        let first = json!({"extraImagesFrom": [map("edge"), map("lab")], "customResources": [kind]});
        let second = json!({"extraImagesFrom": [map("lab"), map("shop")], "customResources": [kind]});
        let both = demand(&[("a", first), ("b", second)]);
        let named: Vec<(&str, &str)> = both
            .extra_images()
            .iter()
            .map(|named| (named.policy.as_str(), named.what.config_map_ref.name.as_str()))
            .collect();
        assert_eq!(named, [("a", "edge"), ("a", "lab"), ("b", "shop")]);
        assert_eq!(both.custom_resources().len(), 1);
    }
}
