//! What runs stays, when its tag has moved on: the runtime's digests keep it.

use serde_json::Value;

use super::Node;
use crate::support::{Image, Layer, Namespace, Operator, Policy, Registry, eventually};

#[test]
#[ignore = "needs the cluster of tests/run"]
fn image_that_runs_or_is_mounted_stays_after_its_tag_has_moved() {
    Operator::installed();
    let namespace = Namespace::new("running");
    let registry = Registry::applied(&namespace, "registry", "auth: {anonymous: Pull}");
    Node::trust(&registry.address.host, &namespace.get("configmap/registry-node-trust"));
    let (running, mounted) = (Image::index("running"), Image::of(&[Layer::File { name: "mounted", lines: 2 }]));
    registry.address.push(&running, "team/app:v1");
    registry.address.push(&mounted, "team/data:v1");
    run(&namespace, &registry, &mounted);
    let status = namespace.get("pod/app")["status"].clone();
    // What a runtime reports, for whoever writes fixtures.
    eprintln!("{status:#}");

    for repository in ["team/app", "team/data"] {
        registry.address.push(&Image::named(&format!("next of {}", &repository[5..])), &format!("{repository}:v1"));
    }
    let spec = "mode: Enforce, minimumAge: 0s, keep: [{name: all, tags: ['**'], always: {}}], \
                untagged: {action: Delete, minimumAge: 0s}";
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", spec);
    let ran = policy.run();
    assert_eq!(ran["lastRun"]["result"], "Completed", "{ran:#}");
    let is_there = |repository: &str, digest: &str| {
        registry.address.request("HEAD", &format!("/v2/{repository}/manifests/{digest}")).status == 200
    };
    assert!(is_there("team/app", &running.digest), "{status:#}\n{ran:#}");
    for child in &running.children {
        assert!(is_there("team/app", child), "{child} of an index that runs: {ran:#}");
    }
    assert!(is_there("team/data", &mounted.digest), "{status:#}\n{ran:#}");

    // It was their use that kept them.
    namespace.run("delete pod app --now --wait");
    let ran = policy.run();
    assert_eq!(ran["lastRun"]["result"], "Completed", "{ran:#}");
    assert!(!is_there("team/app", &running.digest) && !is_there("team/data", &mounted.digest), "{ran:#}");
}

/// Runs one image by its tag, with the other one mounted by its digest: Kubernetes 1.36 does not tell what a tag was that
/// a volume named, unless its feature gate `ImageVolumeWithDigest` is on.
fn run(namespace: &Namespace, registry: &Registry, mounted: &Image) {
    let app = registry.address.reference("team/app:v1");
    let data = registry.address.reference(&format!("team/data@{}", mounted.digest));
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: app}}, spec: {{\
         securityContext: {{runAsUser: 1000, runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}, \
         volumes: [{{name: data, image: {{reference: '{data}'}}}}], \
         containers: [{{name: app, image: '{app}', command: [sleep, '3600'], volumeMounts: [{{name: data, mountPath: /data}}], \
         securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]}}}}"
    ));
    eventually("the pod runs", || {
        let pod: Value = namespace.try_get("pod/app")?;
        if pod["status"]["phase"] == "Running" { Ok(()) } else { Err(format!("{:#}", pod["status"])) }
    });
}
