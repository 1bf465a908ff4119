//! A pod that is deleted finishes what clients are sending; its replacement waits for it.

use std::{fs, thread};

use serde_json::Value;

use crate::support::{Image, Namespace, Operator, Registry, eventually};

/// What a client sends, and how fast: some ten seconds, well inside the time that a registry drains.
const UPLOAD_BYTES: usize = 10 << 20;
const BYTES_PER_SECOND: &str = "1M";

#[test]
#[ignore = "needs the cluster of tests/run"]
fn pod_deleted_during_an_upload_finishes_it_and_its_replacement_waits_for_the_directory() {
    Operator::installed();
    let namespace = Namespace::new("drain");
    let registry = Registry::applied(&namespace, "registry", "");
    let image = Image::named("drain");
    registry.address.push(&image, "team/app:v1");
    let before = registry.pod()["metadata"]["name"].clone();

    thread::scope(|scope| {
        let upload = scope.spawn(|| slow_upload(&registry));
        eventually("the upload is under way", || upload_is_under_way(&namespace));
        namespace.run(&format!("delete pod {} --wait=false", before.as_str().unwrap()));

        // Both are there: the old one sends no request away, the new one lives and waits.
        eventually("the replacement lives and is not ready", || {
            let pods = registry.pods();
            let lives = |pod: &Value, ready: bool| {
                let status = &pod["status"]["containerStatuses"][0];
                status["state"]["running"].is_object() && status["ready"] == ready
            };
            let ending =
                pods.iter().any(|pod| pod["metadata"]["name"] == before && lives(pod, true) || lives(pod, false));
            let waiting = pods.iter().any(|pod| pod["metadata"]["name"] != before && lives(pod, false));
            if pods.len() == 2 && ending && waiting { Ok(()) } else { Err(format!("{pods:#?}")) }
        });
        assert!(!upload.is_finished(), "the upload ended before the pods could be looked at: make it longer");
        let status = upload.join().unwrap();
        assert_eq!(status, "202", "what the client was sending when the pod was deleted");
    });

    eventually("the replacement has taken over", || {
        let pods = registry.pods();
        let status = &pods[0]["status"]["containerStatuses"][0];
        let alone = pods.len() == 1 && pods[0]["metadata"]["name"] != before;
        if alone && status["ready"] == true { Ok(()) } else { Err(format!("{pods:#?}")) }
    });
    // It waited without being restarted for it.
    assert_eq!(registry.pod()["status"]["containerStatuses"][0]["restartCount"], 0);
    registry.await_answer();
    registry.address.pull_is_identical(&image, "team/app:v1");
}

/// Sends a chunk slowly, and returns the status of the answer.
fn slow_upload(registry: &Registry) -> String {
    let started = registry.address.request("POST", "/v2/team/app/blobs/uploads/");
    assert_eq!(started.status, 202, "{started:?}");
    let location = started.headers["location"].clone();
    let url = if location.starts_with('/') { registry.address.url() + &location } else { location };
    let folder = tempfile::tempdir().unwrap();
    let chunk = folder.path().join("chunk");
    fs::write(&chunk, vec![7_u8; UPLOAD_BYTES]).unwrap();
    let curl = registry.address.curl().args(["--request", "PATCH", "--limit-rate", BYTES_PER_SECOND]);
    let curl = curl.args(["--header", "Content-Type: application/octet-stream", "--header", "Expect:"]);
    curl.arg("--data-binary")
        .arg(format!("@{}", chunk.display()))
        .args(["--write-out", "%{http_code}"])
        .arg(url)
        .succeeds()
}

/// Whether a byte of an upload has reached the volume.
fn upload_is_under_way(namespace: &Namespace) -> Result<(), String> {
    let uploads =
        super::Node::volume_of(namespace, "registry-data").join("docker/registry/v2/repositories/team/app/_uploads");
    let entries = fs::read_dir(&uploads).map_err(|error| error.to_string())?;
    let grown = entries.flatten().any(|entry| entry.path().join("data").metadata().is_ok_and(|data| data.len() > 0));
    if grown { Ok(()) } else { Err(format!("nothing in {}", uploads.display())) }
}
