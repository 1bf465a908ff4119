//! What is told of each policy: whether it still succeeds.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{ResourceExt, runtime::reflector::Store};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};

use crate::api::v1alpha1::RetentionPolicy;

/// Tells of each policy when it last succeeded, since when it is there, and whether it is suspended.
///
/// These alone have an object's name as a label: without it nobody can be told that one policy of many fails. There are
/// few policies, and what is told is read from the controllers' caches when somebody asks: so it is right after a
/// restart, it goes with the policy, and only the replica that leads tells it.
#[derive(Clone, Default)]
pub struct PolicyMetrics {
    watched: Arc<Mutex<Vec<Arc<Store<RetentionPolicy>>>>>,
}

impl fmt::Debug for PolicyMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyMetrics").finish_non_exhaustive()
    }
}

impl PolicyMetrics {
    /// Tells of the policies in a cache, until the answer is dropped.
    pub fn watch(&self, policies: Store<RetentionPolicy>) -> WatchedPolicies {
        let policies = Arc::new(policies);
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&policies));
        WatchedPolicies { metrics: self.clone(), policies }
    }

    fn all(&self) -> Vec<Arc<RetentionPolicy>> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        watched.iter().flat_map(|policies| policies.state()).collect()
    }
}

/// Policies that are told of while this lives.
#[derive(Debug)]
#[must_use = "nothing is told of the policies once this is dropped"]
pub struct WatchedPolicies {
    metrics: PolicyMetrics,
    policies: Arc<Store<RetentionPolicy>>,
}

impl Drop for WatchedPolicies {
    fn drop(&mut self) {
        let mut watched = self.metrics.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|known| !Arc::ptr_eq(known, &self.policies));
    }
}

/// A gauge's name, what it tells, and its value for a policy that has one.
type Told = (&'static str, &'static str, fn(&RetentionPolicy) -> Option<i64>);

const TOLD: [Told; 3] = [
    ("retention_last_success_timestamp_seconds", "When a run of the policy last ended well", |policy| {
        Some(policy.status.as_ref()?.last_successful_time.as_ref()?.0.as_second())
    }),
    ("retention_policy_created_timestamp_seconds", "When the policy was made", |policy| {
        Some(policy.creation_timestamp()?.0.as_second())
    }),
    ("retention_policy_suspended", "1: no run of the policy starts by itself", |policy| {
        Some(i64::from(policy.spec.suspend))
    }),
];

impl Collector for PolicyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let policies = self.all();
        for (name, help, value) in TOLD {
            let mut told = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for policy in &policies {
                let Some(value) = value(policy) else { continue };
                let labels = [("namespace", policy.namespace().unwrap_or_default()), ("policy", policy.name_any())];
                told.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher};
    use serde_json::{Value, json};

    use crate::operator::metrics::Metrics;

    use super::*;

    fn policy(name: &str, suspend: bool, status: &Value) -> RetentionPolicy {
        serde_json::from_value(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy", "status": status,
            "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": "2026-06-30T12:00:00Z"},
            "spec": {"registryRef": {"name": "main"}, "suspend": suspend},
        }))
        .unwrap()
    }

    fn told(metrics: &Metrics) -> Vec<String> {
        let text = metrics.encode().unwrap();
        let lines = text.lines().filter(|line| line.contains("policy=\""));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn each_policy_tells_its_own_last_success_while_it_is_there_and_this_replica_leads() {
        let metrics = Metrics::default();
        let (store, mut writer) = reflector::store();
        let succeeded = policy("nightly", false, &json!({"lastSuccessfulTime": "2026-07-01T03:00:05Z"}));
        writer.apply_watcher_event(&watcher::Event::Apply(succeeded.clone()));
        writer.apply_watcher_event(&watcher::Event::Apply(policy("stuck", true, &json!({}))));

        let leads = metrics.policies.watch(store);
        let line = |metric: &str, policy: &str, value: i64| {
            format!("lagan_operator_retention_{metric}{{namespace=\"shop\",policy=\"{policy}\"}} {value}")
        };
        let of_stuck =
            [line("policy_created_timestamp_seconds", "stuck", 1_782_820_800), line("policy_suspended", "stuck", 1)];
        let of_nightly = [
            line("last_success_timestamp_seconds", "nightly", 1_782_874_805),
            line("policy_created_timestamp_seconds", "nightly", 1_782_820_800),
            line("policy_suspended", "nightly", 0),
        ];
        let mut both = [of_stuck.to_vec(), of_nightly.to_vec()].concat();
        both.sort();
        assert_eq!(told(&metrics), both);

        writer.apply_watcher_event(&watcher::Event::Delete(succeeded));
        assert_eq!(told(&metrics), of_stuck);
        drop(leads);
        assert_eq!(told(&metrics), Vec::<String>::new());
    }
}
