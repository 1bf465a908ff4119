//! The kinds of objects that name images.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind of object that names images. All of them are stable APIs that every cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    group: &'static str,
    /// The kind, as a reason names it.
    pub kind: &'static str,
    plural: &'static str,
}

/// Every source, in the order in which they are listed: what makes others before what it makes, pods last.
///
/// Listing takes a while, and in that while an image's use moves from object to object: a `CronJob` makes a Job and is
/// deleted, a Deployment leaves its pods orphaned. A maker that is gone by the time its kind is listed has left what
/// it made to a kind that is listed later, so the image is seen in one of them. In the opposite order it could be
/// missed: no pod yet, and then no `CronJob` any more.
pub const SOURCES: [Source; 10] = [
    Source::new("batch", "CronJob", "cronjobs"),
    Source::new("apps", "Deployment", "deployments"),
    Source::new("apps", "StatefulSet", "statefulsets"),
    Source::new("apps", "DaemonSet", "daemonsets"),
    Source::new("", "PodTemplate", "podtemplates"),
    Source::new("apps", "ControllerRevision", "controllerrevisions"),
    Source::new("apps", "ReplicaSet", "replicasets"),
    Source::new("", "ReplicationController", "replicationcontrollers"),
    Source::new("batch", "Job", "jobs"),
    Source::new("", "Pod", "pods"),
];

impl Source {
    const fn new(group: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self { group, kind, plural }
    }

    /// How to ask for it.
    #[must_use]
    pub fn api_resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, "v1", self.kind), self.plural)
    }
}

/// The name of a resource as access rules and error messages write it: `cronjobs.batch`, `pods`.
#[must_use]
pub(super) fn name_of(resource: &ApiResource) -> String {
    let ApiResource { plural, group, .. } = resource;
    if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(kind: &str) -> usize {
        SOURCES.iter().position(|source| source.kind == kind).unwrap()
    }

    #[test]
    fn makers_are_listed_before_what_they_make() {
        for (maker, made) in [
            ("CronJob", "Job"),
            ("Job", "Pod"),
            ("Deployment", "ReplicaSet"),
            ("ReplicaSet", "Pod"),
            ("StatefulSet", "ControllerRevision"),
            ("DaemonSet", "ControllerRevision"),
            ("StatefulSet", "Pod"),
            ("DaemonSet", "Pod"),
            ("ReplicationController", "Pod"),
            ("PodTemplate", "Pod"),
        ] {
            assert!(position(maker) < position(made), "{made} is listed before {maker}");
        }
    }

    #[test]
    fn every_source_may_be_listed_by_the_charts_rules() {
        let rules = include_str!("../../../charts/lagan/templates/_rules.tpl");
        let (_, rules) = rules.split_once("define \"lagan.inUseRules\"").unwrap();
        for source in SOURCES {
            let listed = rules.lines().filter(|line| line.contains("resources:"));
            let plurals = listed.flat_map(|line| line.split(['[', ']', ',']).map(str::trim));
            assert!(plurals.into_iter().any(|plural| plural == source.plural), "{} is not listed", source.plural);
        }
    }
}
