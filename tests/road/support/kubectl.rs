//! kubectl, in one namespace or for the whole cluster.

use serde_json::Value;

use super::{Output, Program, eventually};

/// kubectl with `KUBECONFIG` as `tests/run` set it.
#[derive(Clone)]
pub(crate) struct Kubectl {
    namespace: Option<String>,
}

impl Kubectl {
    /// For what belongs to no namespace.
    pub(crate) fn cluster() -> Self {
        assert!(std::env::var_os("KUBECONFIG").is_some(), "KUBECONFIG is not set: run this test through `tests/run`");
        Self { namespace: None }
    }

    pub(crate) fn namespaced(namespace: &str) -> Self {
        let mut kubectl = Self::cluster();
        kubectl.namespace = Some(namespace.to_owned());
        kubectl
    }

    /// kubectl with these arguments, to be run.
    pub(crate) fn program<A: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Program {
        let program = match &self.namespace {
            Some(namespace) => Program::new("kubectl").arg("--namespace").arg(namespace),
            None => Program::new("kubectl"),
        };
        program.args(arguments)
    }

    /// Runs kubectl with arguments that are separated by spaces, and returns what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        self.program(line.split_whitespace()).succeeds()
    }

    /// Runs kubectl, and returns how it went.
    pub(crate) fn try_run(&self, line: &str) -> Output {
        self.program(line.split_whitespace()).output()
    }

    pub(crate) fn apply(&self, yaml: &str) {
        self.program(["apply", "--filename", "-"]).input(yaml).succeeds();
    }

    /// Applies what must be refused, and returns the refusal.
    pub(crate) fn refused(&self, yaml: &str) -> String {
        self.program(["apply", "--filename", "-"]).input(yaml).fails()
    }

    /// An object as JSON, `kind/name`.
    pub(crate) fn get(&self, object: &str) -> Value {
        self.try_get(object).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    pub(crate) fn try_get(&self, object: &str) -> Result<Value, String> {
        let text = self.program(["get", object, "--output", "json"]).output().into_result()?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
    }

    /// The objects of a kind, chosen by a label selector.
    pub(crate) fn list(&self, kind: &str, selector: &str) -> Vec<Value> {
        let text = self.program(["get", kind, "--selector", selector, "--output", "json"]).succeeds();
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// A key of a Secret, decoded.
    pub(crate) fn secret(&self, name: &str, key: &str) -> String {
        let template = format!("{{{{index .data \"{key}\" | base64decode}}}}");
        self.program(["get", "secret", name, "--output", &format!("go-template={template}")]).succeeds()
    }

    pub(crate) fn annotate(&self, object: &str, annotation: &str) {
        self.program(["annotate", "--overwrite", object, annotation]).succeeds();
    }

    /// Merges a JSON patch into an object.
    pub(crate) fn patch(&self, object: &str, patch: &Value) {
        self.program(["patch", object, "--type", "merge", "--patch", &patch.to_string()]).succeeds();
    }

    /// Awaits a condition of an object, about its present generation, and returns it.
    pub(crate) fn await_condition(&self, object: &str, condition: &str, status: &str) -> Value {
        eventually(&format!("{object} has {condition}={status}"), || {
            let seen = self.try_get(object)?;
            let found = condition_of(&seen, condition);
            let current = found["observedGeneration"] == seen["metadata"]["generation"];
            if found["status"] == status && current { Ok(found) } else { Err(format!("status: {:#}", seen["status"])) }
        })
    }

    /// Awaits a condition with this status and reason, and returns its message.
    pub(crate) fn await_reason(&self, object: &str, condition: &str, status: &str, reason: &str) -> String {
        eventually(&format!("{object} has {condition}={status} because {reason}"), || {
            let seen = self.try_get(object)?;
            let found = condition_of(&seen, condition);
            if found["status"] == status && found["reason"] == reason {
                Ok(found["message"].as_str().unwrap_or_default().to_owned())
            } else {
                Err(format!("status: {:#}", seen["status"]))
            }
        })
    }

    /// Awaits the end of a Deployment's rollout.
    pub(crate) fn await_rollout(&self, deployment: &str) {
        eventually(&format!("deployment {deployment} is rolled out"), || {
            self.try_run(&format!("rollout status deployment/{deployment} --timeout 10s")).into_result()
        });
    }

    /// Awaits that an object is gone.
    pub(crate) fn await_absence(&self, object: &str) {
        eventually(&format!("{object} is gone"), || {
            let left = self.run(&format!("get {object} --ignore-not-found --output name"));
            if left.is_empty() { Ok(()) } else { Err(format!("there is {left}")) }
        });
    }
}

/// A condition in an object's status; null where there is none.
pub(crate) fn condition_of(object: &Value, condition: &str) -> Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|conditions| conditions.iter().find(|c| c["type"] == condition))
        .cloned()
        .unwrap_or(Value::Null)
}
