//! A Registry of the cluster.

use super::{Credentials, Kubectl, Namespace, RegistryAddress, eventually};

/// A Registry that was applied, with the address that nodes use: a node's port, which tests reach too.
pub(crate) struct Registry {
    pub(crate) name: String,
    pub(crate) address: RegistryAddress,
    kubectl: Kubectl,
}

impl Registry {
    /// Applies a Registry that nodes reach and awaits that it is ready. `spec` is YAML in braces' form without
    /// the braces, such as `deletion: {mode: Disabled}`; it may be empty.
    pub(crate) fn applied(namespace: &Namespace, name: &str, spec: &str) -> Self {
        namespace.apply(&Self::yaml(name, spec));
        Self::ready(namespace, name)
    }

    /// The object that [`Registry::applied`] applies.
    pub(crate) fn yaml(name: &str, spec: &str) -> String {
        format!(
            "{{apiVersion: lagan.dev/v1alpha1, kind: Registry, metadata: {{name: {name}}}, \
             spec: {{expose: {{service: {{type: NodePort}}}}, {spec}}}}}"
        )
    }

    /// Awaits that a Registry is ready, and reads from the cluster how to talk to it, as a user would.
    pub(crate) fn ready(namespace: &Namespace, name: &str) -> Self {
        let object = format!("registry/{name}");
        namespace.await_condition(&object, "Ready", "True");
        let status = namespace.get(&object)["status"].clone();
        let host = status["endpoints"]["nodes"].as_str().unwrap_or_else(|| panic!("no endpoints.nodes in {status:#}"));
        let authority = namespace.get(&format!("configmap/{}", status["caBundleConfigMap"].as_str().unwrap()));
        let credentials = Credentials {
            user: namespace.secret(&format!("{name}-admin"), "username"),
            password: namespace.secret(&format!("{name}-admin"), "password"),
        };
        let authority = authority["data"]["ca.crt"].as_str().unwrap();
        let registry = Self {
            name: name.to_owned(),
            address: RegistryAddress::trusting(host, authority, credentials),
            kubectl: Kubectl::namespaced(namespace.name()),
        };
        registry.await_answer();
        registry
    }

    /// Awaits that it answers: a Service's rules follow a pod's readiness a moment later.
    pub(crate) fn await_answer(&self) {
        eventually("the registry answers", || {
            let answer = self.address.try_request("GET", "/v2/")?;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }

    /// The one pod that serves it.
    pub(crate) fn pod(&self) -> serde_json::Value {
        let mut pods = self.pods();
        assert_eq!(pods.len(), 1, "one pod was expected: {pods:#?}");
        pods.remove(0)
    }

    /// Its pods, ending ones too.
    pub(crate) fn pods(&self) -> Vec<serde_json::Value> {
        let selector = self.kubectl.get(&format!("registry/{}", self.name))["status"]["selector"].clone();
        self.kubectl.list("pods", selector.as_str().expect("a Registry's status has its pods' selector"))
    }
}
