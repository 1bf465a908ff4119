//! A node pulls and runs what was pushed.

use super::Node;
use crate::support::{Image, Layer, Namespace, Operator, Registry, eventually};

#[test]
#[ignore = "needs the cluster of tests/run"]
fn node_configured_with_the_trust_config_map_runs_a_pushed_image_with_tls_verified() {
    Operator::installed();
    let namespace = Namespace::new("node-pull");
    let registry = Registry::applied(&namespace, "registry", "");
    namespace.await_reason("registry/registry", "NodePullReady", "True", "Reachable");
    let image = Image::of(&[Layer::Busybox, Layer::File { name: "pushed", lines: 3 }]);
    registry.address.push(&image, "team/app:v1");

    // Before the node trusts it, the pull fails: TLS is verified.
    pod(&namespace, &registry, "distrusted");
    let refusal = eventually("the pull without trust fails", || {
        let state = namespace.try_get("pod/distrusted")?["status"]["containerStatuses"][0]["state"].clone();
        let message = state["waiting"]["message"].as_str().unwrap_or_default().to_owned();
        if message.contains("certificate") { Ok(message) } else { Err(state.to_string()) }
    });
    assert!(refusal.contains("unknown authority"), "{refusal}");

    Node::trust(&registry.address.host, &namespace.get("configmap/registry-node-trust"));
    pod(&namespace, &registry, "trusting");
    eventually("the pod has run", || {
        let status = namespace.try_get("pod/trusting")?["status"].clone();
        if status["phase"] == "Succeeded" { Ok(()) } else { Err(format!("{status:#}")) }
    });
    assert_eq!(namespace.run("logs trusting"), "pushed 0\npushed 1\npushed 2");
    let id = namespace.get("pod/trusting")["status"]["containerStatuses"][0]["imageID"].clone();
    assert_eq!(id, format!("{}/team/app@{}", registry.address.host, image.digest));
}

/// A pod that runs the image with the registry's login, as Kubernetes' documentation says.
fn pod(namespace: &Namespace, registry: &Registry, name: &str) {
    let login = registry.address.credentials.as_ref().unwrap();
    namespace
        .program(["create", "secret", "docker-registry", &format!("{name}-login")])
        .args([format!("--docker-server={}", registry.address.host)])
        .args([format!("--docker-username={}", login.user), format!("--docker-password={}", login.password)])
        .succeeds();
    let reference = registry.address.reference("team/app:v1");
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{restartPolicy: Never, \
         imagePullSecrets: [{{name: {name}-login}}], \
         securityContext: {{runAsUser: 1000, runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}, \
         containers: [{{name: app, image: '{reference}', command: [cat, /pushed], \
         securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]}}}}"
    ));
}
