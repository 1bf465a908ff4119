//! A `RetentionPolicy` of the cluster.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{Kubectl, Namespace, eventually, eventually_within};

/// Longer than a registry may plan and the operator may list on a busy machine.
const RUN: Duration = Duration::from_secs(180);

/// A policy that was applied. It runs when it is told to.
pub(crate) struct Policy {
    kubectl: Kubectl,
    object: String,
    runs: u32,
}

impl Policy {
    /// Applies a policy, which the schedule runs once a year, and awaits that it is ready. `spec` is YAML in
    /// braces' form without the braces.
    pub(crate) fn applied(namespace: &Namespace, name: &str, registry: &str, spec: &str) -> Self {
        let policy = Self::sent(namespace, name, registry, spec);
        policy.kubectl.await_condition(&policy.object, "Ready", "True");
        policy
    }

    /// The same, suspended: it runs when it is asked to.
    pub(crate) fn suspended(namespace: &Namespace, name: &str, registry: &str, spec: &str) -> Self {
        let policy = Self::sent(namespace, name, registry, &format!("suspend: true, {spec}"));
        policy.await_reason("Ready", "False", "Suspended");
        policy
    }

    /// A policy of the Registry `registry` with a schedule, not awaited.
    pub(crate) fn scheduled(namespace: &Namespace, name: &str, schedule: &str, spec: &str) -> Self {
        Self::sent_with(namespace, name, "registry", schedule, spec)
    }

    fn sent(namespace: &Namespace, name: &str, registry: &str, spec: &str) -> Self {
        Self::sent_with(namespace, name, registry, "0 0 1 1 *", spec)
    }

    fn sent_with(namespace: &Namespace, name: &str, registry: &str, schedule: &str, spec: &str) -> Self {
        namespace.apply(&format!(
            "{{apiVersion: lagan.dev/v1alpha1, kind: RetentionPolicy, metadata: {{name: {name}}}, \
             spec: {{registryRef: {{name: {registry}}}, schedule: '{schedule}', {spec}}}}}"
        ));
        Self { kubectl: Kubectl::namespaced(namespace.name()), object: format!("retentionpolicy/{name}"), runs: 0 }
    }

    /// Changes the spec, and awaits nothing.
    pub(crate) fn spec_becomes(&self, spec: &Value) {
        self.kubectl.patch(&self.object, &json!({"spec": spec}));
    }

    /// Changes the spec, and awaits that the policy is ready.
    pub(crate) fn patch(&self, spec: &Value) {
        self.spec_becomes(spec);
        self.kubectl.await_condition(&self.object, "Ready", "True");
    }

    /// Asks for a run, and does not wait for it. Returns what to await it by.
    pub(crate) fn ask_for_run(&mut self) -> String {
        self.runs += 1;
        let trigger = format!("run-{}", self.runs);
        self.kubectl.annotate(&self.object, &format!("lagan.dev/run-at={trigger}"));
        trigger
    }

    /// Runs now, and returns the status once the run has ended.
    pub(crate) fn run(&mut self) -> Value {
        let trigger = self.ask_for_run();
        self.await_run(&trigger)
    }

    /// Awaits the end of a run that was asked for.
    pub(crate) fn await_run(&self, trigger: &str) -> Value {
        eventually_within(RUN, &format!("{} has made the run {trigger}", self.object), || {
            let status = self.kubectl.try_get(&self.object)?["status"].clone();
            let ended = status["lastRun"]["completionTime"].is_string();
            if status["lastHandledRunAt"] == trigger && ended { Ok(status) } else { Err(format!("{status:#}")) }
        })
    }

    /// Approves the plan with this hash.
    pub(crate) fn approve(&self, hash: &str) {
        self.kubectl.annotate(&self.object, &format!("lagan.dev/approve={hash}"));
    }

    /// Awaits a status.
    pub(crate) fn await_status(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually_within(RUN, &format!("{} {what}", self.object), || {
            let status = self.kubectl.try_get(&self.object)?["status"].clone();
            if is(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
    }

    /// Awaits this state of a hold, by its reference as the status writes it.
    pub(crate) fn await_hold(&self, reference: &str, state: &str) {
        eventually_within(RUN, &format!("the hold of {reference} is {state}"), || {
            let status = self.kubectl.try_get(&self.object)?["status"].clone();
            let holds = status["holds"].as_array().cloned().unwrap_or_default();
            let found = holds.iter().any(|hold| hold["reference"] == reference && hold["state"] == state);
            if found { Ok(()) } else { Err(format!("{status:#}")) }
        });
    }

    /// Awaits an Event about the policy, and returns its note.
    pub(crate) fn await_event(&self, reason: &str) -> String {
        let name = self.object.split('/').next_back().unwrap_or_default();
        let selector = format!("involvedObject.kind=RetentionPolicy,involvedObject.name={name},reason={reason}");
        eventually(&format!("there is an Event {reason} of {}", self.object), || {
            let line = format!("get events --field-selector {selector} --output json");
            let events = self.kubectl.try_run(&line).into_result()?;
            let events: Value = serde_json::from_str(&events).map_err(|error| error.to_string())?;
            let note = events["items"][0]["message"].as_str().map(str::to_owned);
            note.ok_or_else(|| self.kubectl.run("get events"))
        })
    }

    pub(crate) fn await_reason(&self, condition: &str, status: &str, reason: &str) -> String {
        self.kubectl.await_reason(&self.object, condition, status, reason)
    }
}

/// The references of tags that a plan's sample says are to be deleted.
pub(crate) fn planned_tag_deletions(status: &Value) -> BTreeSet<String> {
    let sample = status["plan"]["sample"].as_array().unwrap_or_else(|| panic!("no plan in {status:#}"));
    let deletions = sample.iter().filter(|line| line["decision"] == "Delete");
    let references = deletions.map(|line| line["reference"].as_str().unwrap().to_owned());
    references.filter(|reference| !reference.contains('@')).collect()
}
