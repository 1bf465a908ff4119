//! What only a rollback would run.

use std::collections::BTreeSet;

use kube::core::{DynamicObject, ResourceExt as _};
use serde_json::Value;

/// Tells what is only history from what runs or would run, object by object: a `StatefulSet` is to be seen before its
/// `ControllerRevision`s.
#[derive(Debug, Default)]
pub(super) struct RolloutHistory {
    /// Namespaces and names of the revisions that `StatefulSet`s make pods from.
    current: BTreeSet<(String, String)>,
}

impl RolloutHistory {
    /// Whether nothing runs what `object` names any more, and nothing but a rollback would.
    pub(super) fn is_only(&mut self, kind: &str, object: &DynamicObject) -> bool {
        match kind {
            "StatefulSet" => {
                self.note_current(object);
                false
            }
            "ReplicaSet" => is_controlled(object, &["Deployment"]) && has_no_replicas(object),
            "ControllerRevision" => {
                let name = (object.namespace().unwrap_or_default(), object.name_any());
                is_controlled(object, &["StatefulSet", "DaemonSet"]) && !self.current.contains(&name)
            }
            _ => false,
        }
    }

    /// While it rolls out, a `StatefulSet` makes pods from two revisions, and its template is only one of them.
    fn note_current(&mut self, object: &DynamicObject) {
        let namespace = object.namespace().unwrap_or_default();
        for field in ["/status/currentRevision", "/status/updateRevision"] {
            if let Some(name) = object.data.pointer(field).and_then(Value::as_str) {
                self.current.insert((namespace.clone(), name.to_owned()));
            }
        }
    }
}

/// Whether one of the kinds of `apps` keeps it for its history: what belongs to somebody else is not known.
fn is_controlled(object: &DynamicObject, kinds: &[&str]) -> bool {
    object.owner_references().iter().any(|owner| {
        owner.controller == Some(true) && owner.api_version.starts_with("apps/") && kinds.contains(&owner.kind.as_str())
    })
}

/// Zero by the spec, in which nothing would be one, and none left.
fn has_no_replicas(object: &DynamicObject) -> bool {
    let count = |field, default| object.data.pointer(field).map_or(Some(default), Value::as_i64);
    count("/spec/replicas", 1) == Some(0) && count("/status/replicas", 0) == Some(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, owner: Option<&str>, rest: &Value) -> DynamicObject {
        let owners = owner
            .map(|kind| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]));
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Any",
            "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners.unwrap_or(json!([]))}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    fn replicas(wanted: i64, there: i64) -> Value {
        json!({"spec": {"replicas": wanted}, "status": {"replicas": there}})
    }

    #[test]
    fn old_replica_sets_of_deployments_are_history() {
        let mut history = RolloutHistory::default();
        for (object, is_history) in [
            (object("old", Some("Deployment"), &replicas(0, 0)), true),
            (object("starting", Some("Deployment"), &replicas(1, 0)), false),
            (object("ending", Some("Deployment"), &replicas(0, 1)), false),
            (object("default", Some("Deployment"), &json!({"spec": {}})), false),
            (object("alone", None, &replicas(0, 0)), false),
            (object("rollout", Some("Rollout"), &replicas(0, 0)), false),
        ] {
            assert_eq!(history.is_only("ReplicaSet", &object), is_history, "{object:?}");
        }
    }

    #[test]
    fn revisions_that_a_stateful_set_makes_pods_from_are_not_history() {
        let mut history = RolloutHistory::default();
        let status = json!({"status": {"currentRevision": "db-1", "updateRevision": "db-2"}});
        assert!(!history.is_only("StatefulSet", &object("db", None, &status)));
        for (object, is_history) in [
            (object("db-0", Some("StatefulSet"), &json!({})), true),
            (object("db-1", Some("StatefulSet"), &json!({})), false),
            (object("db-2", Some("StatefulSet"), &json!({})), false),
            (object("agent-1", Some("DaemonSet"), &json!({})), true),
            (object("clone-1", Some("CloneSet"), &json!({})), false),
            (object("alone", None, &json!({})), false),
        ] {
            assert_eq!(history.is_only("ControllerRevision", &object), is_history, "{object:?}");
        }
    }
}
