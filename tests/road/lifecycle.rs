//! What outlives a Registry, and the operator.

use serde_json::json;

use crate::support::{Image, Kubectl, Namespace, Operator, Registry, eventually};

#[test]
#[ignore = "needs a cluster: tests/run"]
fn registry_deleted_and_applied_again_serves_the_same_content() {
    Operator::installed();
    let namespace = Namespace::new("again");
    let registry = Registry::applied(&namespace, "registry", "");
    let image = Image::named("again");
    registry.address.push(&image, "team/app:v1");
    let credentials = registry.address.credentials.clone().unwrap();
    let volume = namespace.get("pvc/registry-data")["spec"]["volumeName"].clone();

    namespace.run("delete registry registry");
    namespace.await_absence("deployment/registry");
    assert_eq!(namespace.get("pvc/registry-data")["status"]["phase"], "Bound");

    let registry = Registry::applied(&namespace, "registry", "");
    assert_eq!(namespace.get("pvc/registry-data")["spec"]["volumeName"], volume);
    // Clients' logins go on working, too.
    assert_eq!(registry.address.credentials.as_ref().unwrap().password, credentials.password);
    registry.address.pull_is_identical(&image, "team/app:v1");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn claim_that_goes_with_its_registry_goes() {
    Operator::installed();
    let namespace = Namespace::new("gone");
    let storage = "storage: {persistentVolumeClaim: {template: {size: 1Gi}, whenDeleted: Delete}}";
    Registry::applied(&namespace, "registry", storage);
    namespace.run("delete registry registry");
    namespace.await_absence("pvc/registry-data");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn helm_uninstall_keeps_the_data_of_registries() {
    let operator = Operator::installed();
    let namespace = Namespace::new("uninstall");
    let registry = Registry::applied(&namespace, "registry", "");
    let image = Image::named("uninstall");
    registry.address.push(&image, "team/app:v1");

    Operator::uninstall();
    operator.kubectl.await_absence("deployment/lagan");
    // Without the operator everything goes on: the CRDs, the Registry, its pods.
    Kubectl::cluster().get("crd/registries.lagan.dev");
    registry.address.pull_is_identical(&image, "team/app:v1");

    Operator::install();
    let registry = Registry::ready(&namespace, "registry");
    registry.address.pull_is_identical(&image, "team/app:v1");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn registry_scaled_to_zero_and_back_serves_the_same_content() {
    Operator::installed();
    let namespace = Namespace::new("scale");
    let registry = Registry::applied(&namespace, "registry", "");
    let image = Image::named("scale");
    registry.address.push(&image, "team/app:v1");

    namespace.run("scale registry registry --replicas 0");
    namespace.await_reason("registry/registry", "Ready", "False", "ScaledToZero");
    eventually("its pods are gone", || {
        let pods = registry.pods();
        if pods.is_empty() { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    });

    namespace.run("scale registry registry --replicas 1");
    namespace.await_condition("registry/registry", "Ready", "True");
    registry.await_answer();
    registry.address.pull_is_identical(&image, "team/app:v1");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn pod_deleted_while_nothing_happens_is_replaced() {
    Operator::installed();
    let namespace = Namespace::new("replaced");
    let registry = Registry::applied(&namespace, "registry", "");
    let image = Image::named("replaced");
    registry.address.push(&image, "team/app:v1");
    let before = registry.pod()["metadata"]["name"].as_str().unwrap().to_owned();

    namespace.run(&format!("delete pod {before}"));
    eventually("another pod is ready", || {
        let pods = registry.pods();
        let ready = pods.iter().any(|pod| {
            pod["metadata"]["name"] != json!(before) && pod["status"]["containerStatuses"][0]["ready"] == true
        });
        if ready { Ok(()) } else { Err(format!("{pods:#?}")) }
    });
    registry.await_answer();
    registry.address.pull_is_identical(&image, "team/app:v1");
}
