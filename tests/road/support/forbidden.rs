//! What the operator may list, less one kind.

use serde_json::{Value, json};

use super::{Kubectl, OPERATOR_NAMESPACE, eventually};

/// Takes a resource from what the operator may list, for the time of a test.
pub(crate) struct Forbidden {
    resource: String,
    role: Value,
}

impl Forbidden {
    /// `resource` is the plural, such as `cronjobs`; returns once the API server refuses.
    pub(crate) fn to_list(resource: &str) -> Self {
        let cluster = Kubectl::cluster();
        let roles = cluster.list("clusterroles", "app.kubernetes.io/instance=lagan");
        let may = |rule: &Value| {
            let resources = rule["resources"].as_array().cloned().unwrap_or_default();
            resources.contains(&json!(resource))
                && rule["verbs"].as_array().is_some_and(|verbs| verbs.contains(&json!("list")))
        };
        let role = roles
            .into_iter()
            .find(|role| {
                role["aggregationRule"].is_null() && role["rules"].as_array().is_some_and(|rules| rules.iter().any(may))
            })
            .unwrap_or_else(|| panic!("no cluster role of the chart lets the operator list {resource}"));
        let mut without = role.clone();
        for rule in without["rules"].as_array_mut().unwrap() {
            rule["resources"].as_array_mut().unwrap().retain(|r| r != resource);
        }
        without["rules"].as_array_mut().unwrap().retain(|rule| rule["resources"] != json!([]));
        let forbidden = Self { resource: resource.to_owned(), role };
        forbidden.replace_rules(&without["rules"]);
        forbidden.await_answer("no");
        forbidden
    }

    fn replace_rules(&self, rules: &Value) {
        let object = format!("clusterrole/{}", self.role["metadata"]["name"].as_str().unwrap());
        Kubectl::cluster().patch(&object, &json!({"rules": rules}));
    }
}

impl Forbidden {
    /// Awaits what the API server says to whether the operator may list it: it learns of roles a moment later.
    fn await_answer(&self, expected: &str) {
        let operator = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:lagan");
        let question = format!("auth can-i list {} --all-namespaces --as {operator}", self.resource);
        eventually(&format!("{question} is {expected}"), || {
            let answer = Kubectl::cluster().try_run(&question);
            let said = answer.to_string();
            if String::from_utf8_lossy(&answer.stdout).trim() == expected { Ok(()) } else { Err(said) }
        });
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        self.replace_rules(&self.role["rules"]);
        if !std::thread::panicking() {
            self.await_answer("yes");
        }
    }
}
