//! From nothing to a registry that answers.

use serde_json::Value;

use crate::support::{Kubectl, Namespace, Operator, Program, Registry, eventually, helm_template};

#[test]
#[ignore = "needs a cluster: tests/run"]
fn chart_installed_and_five_lines_applied_give_a_registry_that_answers() {
    let operator = Operator::installed();
    operator.kubectl.await_rollout("lagan");
    let namespace = Namespace::new("install");

    // Five lines, as in the README.
    namespace.apply(
        "apiVersion: lagan.dev/v1alpha1\n\
         kind: Registry\n\
         metadata:\n\
         \x20 name: registry\n\
         spec: {}\n",
    );
    namespace.await_condition("registry/registry", "Ready", "True");
    let status = namespace.get("registry/registry")["status"].clone();

    // What `kubectl get` prints is where it answers, for pods.
    let printed = namespace.run("get registry registry --no-headers");
    let endpoint = status["endpoints"]["internal"].as_str().unwrap();
    assert!(printed.contains(endpoint), "{printed}");
    assert_eq!(trash_seen_from_a_pod(&namespace, endpoint, &status), "[]");

    // Nodes are promised nothing that was not asked for.
    assert!(status["endpoints"]["nodes"].is_null(), "{status:#}");
    namespace.await_reason("registry/registry", "NodePullReady", "False", "NoNodeReachableEndpoint");
}

/// What a pod of the namespace is told by the registry, which it trusts and logs in to by what the status names.
fn trash_seen_from_a_pod(namespace: &Namespace, endpoint: &str, status: &Value) -> String {
    let image = std::env::var("LAGAN_IMAGE").unwrap();
    let authority = status["caBundleConfigMap"].as_str().unwrap();
    let login = |key| format!("valueFrom: {{secretKeyRef: {{name: registry-admin, key: {key}}}}}");
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: client}}, spec: {{restartPolicy: Never, \
         securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}, \
         volumes: [{{name: trust, configMap: {{name: '{authority}'}}}}], \
         containers: [{{name: client, image: '{image}', volumeMounts: [{{name: trust, mountPath: /trust}}], \
         securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}, \
         env: [{{name: LAGAN_USERNAME, {}}}, {{name: LAGAN_PASSWORD, {}}}], \
         args: [trash, list, --registry, 'https://{endpoint}', --ca, /trust/ca.crt, --output, json]}}]}}}}",
        login("username"),
        login("password")
    ));
    eventually("the client's pod has ended", || {
        let phase = namespace.try_get("pod/client")?["status"]["phase"].clone();
        if phase == "Succeeded" { Ok(()) } else { Err(format!("{phase}\n{}", namespace.try_run("logs client"))) }
    });
    namespace.run("logs client")
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn all_that_the_chart_renders_is_accepted_by_the_api_server() {
    // The operator's CRDs and namespace are there, so that objects that need them are checked too.
    Operator::installed();
    let rendered = helm_template().succeeds();
    Kubectl::cluster()
        .program(["apply", "--dry-run=server", "--force-conflicts", "--server-side", "--filename", "-"])
        .args(["--namespace", crate::support::OPERATOR_NAMESPACE])
        .input(rendered)
        .succeeds();
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn operator_with_nothing_to_do_writes_nothing() {
    Operator::installed();
    let namespace = Namespace::new("steady");
    Registry::applied(&namespace, "registry", "");
    let version = |object: &str| namespace.get(object)["metadata"]["resourceVersion"].clone();
    // The Deployment's own status follows its pods; what the operator wrote is in the others.
    let objects = ["registry/registry", "configmap/registry-config", "service/registry", "secret/registry-tls"];
    let before: Vec<_> = objects.iter().map(|object| version(object)).collect();
    // Another change makes the operator look at this Registry again, and tells us when it has.
    let other = Registry::applied(&namespace, "other", "");
    other.await_answer();
    namespace.run("annotate registry registry looked=at");
    let annotated = version("registry/registry");
    namespace.run("annotate registry other looked=at");
    let after: Vec<_> = objects.iter().map(|object| version(object)).collect();
    assert_eq!(before[1..], after[1..]);
    assert_eq!(annotated, after[0], "the operator wrote a status that had not changed");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn printed_resources_are_those_that_are_installed() {
    Operator::installed();
    let printed = Program::new(env!("CARGO_BIN_EXE_lagan")).arg("crd").succeeds();
    let difference = Kubectl::cluster()
        .program(["diff", "--server-side", "--force-conflicts", "--filename", "-"])
        .input(printed)
        .output();
    assert!(difference.is_success(), "{difference}");
}
