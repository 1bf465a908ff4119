//! Garbage goes on the operator's schedule, and what a brake stopped waits for somebody.

use std::{fs, path::Path, time::Duration};

use lagan::oci::{Algorithm, Digest};
use serde_json::{Value, json};

use super::Node;
use crate::support::{Image, Namespace, Operator, Registry, eventually_within};

/// Longer than the schedule's minute, and the quarter of one after which the operator asks how far a collection is.
const PATIENCE: Duration = Duration::from_secs(180);

const EACH_MINUTE: &str = "garbageCollection: {schedule: '* * * * *', gracePeriod: 10m}";

#[test]
#[ignore = "needs the cluster of tests/run"]
fn garbage_goes_on_schedule_and_an_adopted_volume_waits_for_somebody() {
    Operator::installed();
    let namespace = Namespace::new("collection");
    let registry = Registry::applied(&namespace, "registry", EACH_MINUTE);
    let image = Image::index("collection");
    registry.address.push(&image, "team/app:v1");
    let garbage = push_blob(&registry, "flotsam");
    let young = push_blob(&registry, "jetsam");
    let volume = Node::volume_of(&namespace, "registry-data");
    grow_old(&volume, &garbage);

    let last = await_collection(&namespace, "the garbage is gone", |last| {
        last["result"] == "Completed" && last["removedBlobs"] == 1 && last["reclaimedBytes"] == 7
    });
    assert!(last["startTime"].is_string() && last["completionTime"].is_string(), "{last:#}");
    assert_eq!(registry.address.get(&format!("/v2/team/app/blobs/{garbage}")).status, 404);
    assert_eq!(registry.address.get(&format!("/v2/team/app/blobs/{young}")).status, 200);
    registry.address.pull_is_identical(&image, "team/app:v1");
    namespace.await_condition("registry/registry", "Degraded", "False");

    // As if another registry had written all of it.
    namespace.patch("registry/registry", &json!({"spec": {"replicas": 0}}));
    namespace.await_reason("registry/registry", "Ready", "False", "ScaledToZero");
    eventually_within(PATIENCE, "the pod is gone", || {
        let pods = registry.pods();
        if pods.is_empty() { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    });
    fs::remove_dir_all(volume.join("lagan")).unwrap();
    namespace.patch("registry/registry", &json!({"spec": {"replicas": 1}}));
    let message = namespace.await_reason("registry/registry", "Degraded", "True", "CollectionHalted");
    let halted = namespace.get("registry/registry")["status"]["lastGarbageCollection"].clone();
    assert_eq!((&halted["result"], &halted["brake"]), (&json!("Halted"), &json!("NotConfirmed")), "{halted:#}");
    let report = halted["report"].as_str().unwrap();
    let confirmation = format!("lagan.dev/confirm-collection={report}");
    assert!(message.contains(&confirmation), "{message}");

    namespace.annotate("registry/registry", &confirmation);
    // It goes on, as far as it can: the volume is too young for more.
    await_collection(&namespace, "it was confirmed", |last| last["report"] != report && last["brake"] == "TooYoung");
    namespace.await_condition("registry/registry", "Degraded", "False");
    Registry::ready(&namespace, "registry").address.pull_is_identical(&image, "team/app:v1");
}

/// Awaits what the Registry says of its last collection.
fn await_collection(namespace: &Namespace, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually_within(PATIENCE, what, || {
        let status = namespace.get("registry/registry")["status"].clone();
        let last = &status["lastGarbageCollection"];
        if is_so(last) { Ok(last.clone()) } else { Err(format!("status: {status:#}")) }
    })
}

/// Pushes a blob that nothing needs.
fn push_blob(registry: &Registry, content: &str) -> Digest {
    let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
    let url = format!("{}/v2/team/app/blobs/uploads/?digest={digest}", registry.address.url());
    let curl = registry.address.curl().args(["--fail", "--request", "POST", "--data-binary", content]);
    curl.args(["--header", "Content-Type: application/octet-stream"]).arg(url).succeeds();
    digest
}

/// Lets a blob and its link be a day old.
fn grow_old(volume: &Path, digest: &Digest) {
    let (root, hex) = (volume.join("docker/registry/v2"), digest.hex());
    let content = root.join("blobs/sha256").join(&hex[..2]).join(hex).join("data");
    let link = root.join("repositories/team/app/_layers/sha256").join(hex).join("link");
    for path in [content, link] {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - Duration::from_secs(24 * 60 * 60)).unwrap();
    }
}
