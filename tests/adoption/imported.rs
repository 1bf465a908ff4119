//! `lagan import` from another registry.

use std::{
    path::Path,
    process::{Command, Output},
};

use reqwest::StatusCode;
use serde_json::Value;

use super::{
    image::{Image, OCI_INDEX, one_of_each},
    registry::{Kind, Registry, lagan, lagan_command},
};

fn import(from: &str, arguments: &[&str]) -> Command {
    let mut command = lagan_command();
    command.args(["import", "--from", from, "-o", "json"]).args(arguments);
    command
}

fn report(done: &Output) -> Value {
    let report = serde_json::from_slice(&done.stdout);
    report.unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&done.stderr)))
}

/// Fills a registry with images in three repositories; what is in which.
async fn fill(registry: &Registry) -> Vec<(&'static str, &'static str, Image)> {
    let mut images: Vec<(&str, &str, Image)> =
        one_of_each().into_iter().map(|(tag, image)| ("team/app", tag, image)).collect();
    images.push(("other", "copy", Image::oci("oci")));
    images.push(("deep/er/name", "v1", Image::index("deeper", OCI_INDEX)));
    for (repository, tag, image) in &images {
        registry.client.push(repository, tag, image).await;
    }
    images
}

async fn assert_all(registry: &Registry, images: &[(&str, &str, Image)]) {
    for (repository, tag, image) in images {
        registry.client.assert_served(repository, tag, image).await;
    }
}

pub(crate) async fn a_whole_registry_is_copied(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let source = other.serve(&folder.path().join("source")).await;
    let images = fill(&source).await;
    let subject = &images[0].2;
    let signature = Image::about("signature", subject);
    source.client.push_untagged("team/app", &signature).await;
    // Without the referrers API, a client keeps the list under a tag.
    let list = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": signature.media_type, "digest": signature.digest().to_string(), "size": signature.manifest.len()}],
    });
    let list =
        Image { media_type: OCI_INDEX, manifest: list.to_string().into_bytes(), blobs: vec![], children: vec![] };
    source.client.push("team/app", &subject.digest().to_string().replace(':', "-"), &list).await;

    let target = lagan(&folder.path().join("target")).await;
    let to = ["--to", target.client.url.as_str()];
    let tried = import(&source.client.url, &[&to[..], &["--dry-run"]].concat()).output().unwrap();
    let tags = images.len() + 1;
    assert_eq!(report(&tried)["tagsCopied"], tags, "{tried:?}");
    assert_eq!(target.client.catalog().await, [""; 0], "a dry run copies nothing");

    let done = import(&source.client.url, &to).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(report(&done)["tagsCopied"], tags, "{done:?}");
    assert!(report(&done)["blobsMounted"].as_u64().unwrap() > 0, "one image is in two repositories");
    assert_all(&target, &images).await;
    let referrers = target.client.json(&format!("/v2/team/app/referrers/{}", subject.digest())).await;
    assert_eq!(referrers["manifests"][0]["digest"], signature.digest().to_string());

    let again = report(&import(&source.client.url, &to).output().unwrap());
    assert_eq!((&again["tagsCopied"], &again["tagsPresent"]), (&Value::from(0), &Value::from(tags)), "{again:#}");
    assert_eq!((&again["blobsCopied"], &again["manifestsCopied"]), (&Value::from(0), &Value::from(0)), "{again:#}");
    source.stop();
    target.stop();
}

pub(crate) async fn some_of_a_registry_is_copied_into_a_folder(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let source = other.serve(&folder.path().join("source")).await;
    let images = fill(&source).await;
    let data = folder.path().join("target");
    let to = ["--data", data.to_str().unwrap(), "--repositories", "team/*", "other", "--tags", "s*", "copy"];
    let done = import(&source.client.url, &to).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let target = lagan(&data).await;
    assert_eq!(target.client.catalog().await, ["other", "team/app"]);
    assert_eq!(target.client.tags("team/app").await, ["sha512"]);
    let chosen: Vec<_> = images.into_iter().filter(|(_, tag, _)| ["sha512", "copy"].contains(tag)).collect();
    assert_all(&target, &chosen).await;
    let busy = import(&source.client.url, &to).output().unwrap();
    assert_eq!(busy.status.code(), Some(64), "somebody serves the folder: {busy:?}");
    source.stop();
    target.stop();
}

/// One damaged image is reported, and all the others are copied.
pub(crate) async fn what_cannot_be_copied_is_said(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("source");
    let source = other.serve(&data).await;
    let images = fill(&source).await;
    let damaged = Image::oci("damaged");
    source.client.push("bad", "v1", &damaged).await;
    let hex = damaged.blobs[2].0.hex();
    damage(&data.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])));
    let target = lagan(&folder.path().join("target")).await;
    let done = import(&source.client.url, &["--to", &target.client.url]).output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let report = report(&done);
    assert_eq!(report["failures"].as_array().unwrap().len(), 1, "{report:#}");
    assert_eq!(report["failures"][0]["repository"], "bad");
    assert!(report["failures"][0]["reason"].as_str().unwrap().contains("hashes to"), "{report:#}");
    assert_all(&target, &images).await;
    let missing = target.client.get("/v2/bad/manifests/v1").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    source.stop();
    target.stop();
}

fn damage(file: &Path) {
    let mut content = std::fs::read(file).unwrap();
    content[10] ^= 1;
    std::fs::write(file, content).unwrap();
}

#[tokio::test]
#[ignore = "needs the programs of tests/cluster/tools"]
async fn an_import_that_was_cut_off_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let source = lagan(&folder.path().join("source")).await;
    let images: Vec<(String, Image)> = (0..30).map(|n| (format!("v{n}"), Image::oci(&format!("image {n}")))).collect();
    for (tag, image) in &images {
        source.client.push("app", tag, image).await;
    }
    let data = folder.path().join("target");
    let target = lagan(&data).await;
    let mut running = import(&source.client.url, &["--to", &target.client.url, "--parallel", "1"]).spawn().unwrap();
    while target.client.tags("app").await.len() < 5 {
        assert!(running.try_wait().unwrap().is_none(), "it was over before it could be cut off");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let before = target.client.tags("app").await.len();
    let done = import(&source.client.url, &["--to", &target.client.url]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let report = report(&done);
    assert!(report["tagsPresent"].as_u64().unwrap() >= before as u64, "{report:#}");
    for (tag, image) in &images {
        target.client.assert_served("app", tag, image).await;
    }
    source.stop();
    target.stop();
}

#[tokio::test]
#[ignore = "needs the programs of tests/cluster/tools"]
async fn wrong_input_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let source = lagan(&folder.path().join("source")).await;
    let url = source.client.url.as_str();
    for (from, arguments, code, expected) in [
        (url, vec![], 64, "--to"),
        (url, vec!["--to", url], 64, "both"),
        ("ftp://host", vec!["--to", url], 64, "no registry's address"),
        ("http://127.0.0.1:1", vec!["--to", url], 69, "does not answer"),
        (url, vec!["--to", "http://127.0.0.1:1"], 69, "does not answer"),
        (url, vec!["--to", "http://127.0.0.1:1", "--repositories", "a["], 64, "--repositories"),
        (url, vec!["--to", "http://127.0.0.1:1", "--from-username", "x"], 64, "LAGAN_FROM_PASSWORD"),
    ] {
        let done = import(from, &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    source.stop();
}
