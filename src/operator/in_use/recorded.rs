//! What container runtimes report of the images that they run, in the shapes that were seen of them.
//!
//! Digests and names are this test's; the shapes are these:
//!
//! - containerd 1.6 to 2.x: the name and the digest of what the name led to, an index where it was one; where it knows no
//!   name with a digest, as of an image that was imported, the image's id (containerd's issue 8408). Which name that is
//!   depends on what the node pulled before under other names: it is the first that it knows.
//! - What is mounted of an image volume is told since Kubernetes 1.35, with its feature gate `ImageVolumeWithDigest`. Without
//!   it, only the volume's own reference is known; `tests/road/own_ground/running_pods.rs` sees that, and an index's digest,
//!   with containerd 2.4.2 under Kubernetes 1.36.3.
//! - CRI-O up to 1.27: the name and a digest, which may be the platform's and not the index's that the pod names, and may
//!   be another repository's with the same image. From 1.28 on: the image's id, without an algorithm (CRI-O's pull
//!   request 7149).

use serde_json::{Value, json};

use crate::api::wire::Candidate;
use crate::oci::{Algorithm, Digest};

use super::{CandidateIndex, Protection, User, each_image};

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

/// 0: an index with a tag, which nothing below names; 1: an image without a tag; 2: an image that nothing runs.
fn index() -> CandidateIndex {
    let mut index = CandidateIndex::default();
    for (number, repository, tag, closure) in [
        (0, "shop/web", Some("v7"), &["index", "amd64", "amd64-config", "arm64", "arm64-config"][..]),
        (1, "shop/web", None, &["image", "image-config"]),
        (2, "shop/web", Some("v6"), &["unused", "unused-config"]),
    ] {
        let closure: Vec<Digest> = closure.iter().map(|text| digest(text)).collect();
        index.add(Candidate {
            index: number,
            repository: repository.parse().unwrap(),
            tag: tag.map(|tag| tag.parse().unwrap()),
            digest: closure[0].clone(),
            closure,
        });
    }
    index
}

fn protected(pod: &Value) -> Vec<u32> {
    let index = index();
    let mut protection = Protection::new(&index, "shop");
    each_image(pod, &mut |image| protection.add(User { kind: "Pod", namespace: "shop", name: "web" }, image));
    protection.in_use().into_iter().map(|in_use| in_use.candidate).collect()
}

/// A running pod; its tag has moved on since, so that only the status says what it runs.
fn pod(spec_image: &str, image: &str, image_id: &str) -> Value {
    json!({
        "spec": {"containers": [{"name": "web", "image": spec_image, "imagePullPolicy": "IfNotPresent"}]},
        "status": {
            "containerStatuses": [{
                "allocatedResources": {}, "containerID": "containerd://76b2d4f0c9f1a3f9", "image": image,
                "imageID": image_id, "lastState": {}, "name": "web", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-07-01T12:00:00Z"}},
            }],
            "phase": "Running", "qosClass": "BestEffort",
        },
    })
}

#[test]
fn runtimes_digests_keep_what_runs() {
    let of = |name: &str| digest(name).to_string();
    let bare = |name: &str| digest(name).hex().to_owned();
    for (runtime, pod, expected) in [
        (
            "containerd: an index's digest",
            pod("host:5000/shop/web:v8", "host:5000/shop/web:v8", &format!("host:5000/shop/web@{}", of("index"))),
            0,
        ),
        (
            "containerd: an image's digest",
            pod("host:5000/shop/web:v8", "host:5000/shop/web:v8", &format!("host:5000/shop/web@{}", of("image"))),
            1,
        ),
        (
            "containerd: another repository of the same image",
            pod("host:5000/shop/web:v8", "host:5000/shop/web:v8", &format!("docker.io/other/name@{}", of("index"))),
            0,
        ),
        ("containerd: an image's id", pod("shop/web:v8", "docker.io/shop/web:v8", &of("image-config")), 1),
        ("containerd: the id of an index's image", pod("shop/web:v8", "docker.io/shop/web:v8", &of("amd64-config")), 0),
        (
            "containerd: the name has moved on",
            pod("host:5000/shop/web:v8", &of("image-config"), &of("image-config")),
            1,
        ),
        (
            "CRI-O to 1.27: the platform's digest",
            pod(
                &format!("host/shop/web@{}", digest("another index")),
                &format!("host/shop/web@{}", digest("another index")),
                &format!("host/shop/web@{}", of("arm64")),
            ),
            0,
        ),
        (
            "CRI-O to 1.27: another repository of the same image",
            pod("host/shop/web:v8", "host/shop/web:v8", &format!("host/elsewhere/web@{}", of("image"))),
            1,
        ),
        ("CRI-O from 1.28: a bare id", pod("host/shop/web:v8", "host/shop/web:v8", &bare("image-config")), 1),
        (
            "CRI-O from 1.28: a bare id of an index's image",
            pod("host/shop/web:v8", "host/shop/web:v8", &bare("amd64-config")),
            0,
        ),
    ] {
        assert_eq!(protected(&pod), [expected], "{runtime}: {pod:#}");
    }
}

#[test]
fn digest_of_a_mounted_image_keeps_it() {
    let mut pod = pod("host/tool:1", "host/tool:1", &format!("host/tool@{}", digest("tool")));
    pod["spec"]["volumes"] =
        json!([{"name": "data", "image": {"reference": "host/shop/web:v8", "pullPolicy": "IfNotPresent"}}]);
    assert_eq!(protected(&pod), Vec::<u32>::new());
    let reference = format!("host/shop/web@{}", digest("index"));
    pod["status"]["containerStatuses"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data", "volumeStatus": {"image": {"imageRef": reference}}}]);
    assert_eq!(protected(&pod), [0]);
}
