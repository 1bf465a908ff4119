//! A namespace for one test.

use std::{ops::Deref, thread};

use super::{Kubectl, operator};

/// A namespace that is made for one test and removed after it. A test that fails shows what was in it.
pub(crate) struct Namespace {
    name: String,
    kubectl: Kubectl,
}

impl Namespace {
    /// Makes the namespace anew: one that a run left behind is removed first. Pods in it must be restricted, as
    /// in a cluster that takes security seriously.
    pub(crate) fn new(name: &str) -> Self {
        let cluster = Kubectl::cluster();
        cluster.run(&format!("delete namespace {name} --ignore-not-found --timeout 120s"));
        cluster.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{\
             pod-security.kubernetes.io/enforce: restricted}}}}}}"
        ));
        Self { name: name.to_owned(), kubectl: Kubectl::namespaced(name) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Deref for Namespace {
    type Target = Kubectl;

    fn deref(&self) -> &Kubectl {
        &self.kubectl
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if thread::panicking() {
            operator::show(
                "what was there when the test failed",
                &[
                    format!("--namespace {} get all,pvc,configmap,secret --output wide", self.name),
                    format!("--namespace {} get registries,retentionpolicies --output yaml", self.name),
                    format!("--namespace {} get events --sort-by .lastTimestamp", self.name),
                    format!("--namespace {} describe pods", self.name),
                    format!(
                        "--namespace {} logs --selector app.kubernetes.io/name=lagan --tail 60 --prefix",
                        self.name
                    ),
                    format!(
                        "--namespace {} logs --selector app.kubernetes.io/part-of=lagan --tail 80",
                        operator::NAMESPACE
                    ),
                ],
            );
        }
        // The next test does not wait for it: `new` does, should the name come again.
        self.kubectl.program(["delete", "namespace", &self.name, "--wait=false"]).output();
    }
}
