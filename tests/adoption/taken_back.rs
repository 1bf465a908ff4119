//! A folder that Lagan wrote, served by another registry.

use reqwest::{Method, StatusCode};

use super::{
    client::Client,
    image::{Image, OCI_INDEX, one_of_each},
    registry::{Kind, lagan, lagan_command},
};

const REPOSITORY: &str = "team/app";

fn restore(client: &Client, what: &str) {
    let done = lagan_command().args(["trash", "restore", what, "--registry", &client.url]).output().unwrap();
    assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
}

pub(crate) async fn pushes_are_served(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ours = lagan(&data).await;
    let images = one_of_each();
    for (tag, image) in &images {
        ours.client.push(REPOSITORY, tag, image).await;
    }
    let subject = Image::oci("subject");
    let signature = Image::about("signature", &subject);
    ours.client.push(REPOSITORY, "subject", &subject).await;
    ours.client.push_untagged(REPOSITORY, &signature).await;
    // An upload in progress is in nobody's way.
    ours.client.begin_upload(REPOSITORY).await;
    ours.stop();

    let registry = other.serve(&data).await;
    for (tag, image) in &images {
        registry.client.assert_served(REPOSITORY, tag, image).await;
    }
    registry.client.assert_served(REPOSITORY, &signature.digest().to_string(), &signature).await;
    assert_eq!(registry.client.catalog().await, [REPOSITORY]);
    assert_eq!(registry.client.tags(REPOSITORY).await, ["docker", "index", "list", "oci", "sha512", "subject"]);
    registry.stop();
}

pub(crate) async fn overwrites_are_served(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ours = lagan(&data).await;
    let versions: Vec<Image> = (0..4).map(|number| Image::oci(&format!("version {number}"))).collect();
    for image in &versions {
        ours.client.push(REPOSITORY, "latest", image).await;
    }
    ours.stop();

    let registry = other.serve(&data).await;
    registry.client.assert_served(REPOSITORY, "latest", &versions[3]).await;
    for image in &versions {
        registry.client.assert_served(REPOSITORY, &image.digest().to_string(), image).await;
    }
    registry.stop();
}

pub(crate) async fn deletes_hold(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ours = lagan(&data).await;
    let client = &ours.client;
    let (by_tag, by_digest, kept) = (Image::oci("by tag"), Image::index("by digest", OCI_INDEX), Image::oci("kept"));
    let (blob, sha512) = (Image::oci("blob"), Image::sha512("sha512"));
    for (tag, image) in
        [("by-tag", &by_tag), ("by-digest", &by_digest), ("twice", &by_digest), ("kept", &kept), ("blob", &blob)]
    {
        client.push(REPOSITORY, tag, image).await;
    }
    client.push("alone", "only", &sha512).await;
    client.delete(&format!("/v2/{REPOSITORY}/manifests/by-tag")).await;
    client.delete(&format!("/v2/{REPOSITORY}/manifests/{}", by_digest.digest())).await;
    client.delete(&format!("/v2/{REPOSITORY}/blobs/{}", blob.blobs[1].0)).await;
    client.delete(&format!("/v2/alone/manifests/{}", sha512.digest())).await;
    client.delete(&format!("/v2/alone/blobs/{}", sha512.blobs[2].0)).await;
    ours.stop();

    let registry = other.serve(&data).await;
    let client = &registry.client;
    let gone = [
        format!("/v2/{REPOSITORY}/manifests/by-tag"),
        format!("/v2/{REPOSITORY}/manifests/by-digest"),
        format!("/v2/{REPOSITORY}/manifests/twice"),
        format!("/v2/{REPOSITORY}/manifests/{}", by_digest.digest()),
        format!("/v2/{REPOSITORY}/blobs/{}", blob.blobs[1].0),
        "/v2/alone/manifests/only".to_owned(),
        format!("/v2/alone/manifests/{}", sha512.digest()),
        format!("/v2/alone/blobs/{}", sha512.blobs[2].0),
    ];
    for path in &gone {
        assert_eq!(client.status(Method::GET, path).await, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(client.tags(REPOSITORY).await, ["blob", "kept"]);
    client.assert_served(REPOSITORY, "kept", &kept).await;
    client.assert_served(REPOSITORY, &by_tag.digest().to_string(), &by_tag).await;
    for child in &by_digest.children {
        client.assert_served(REPOSITORY, &child.digest().to_string(), child).await;
    }
    // What was deleted can be pushed there again.
    client.push(REPOSITORY, "by-digest", &by_digest).await;
    client.assert_served(REPOSITORY, "by-digest", &by_digest).await;
    registry.stop();
}

pub(crate) async fn restores_hold(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ours = lagan(&data).await;
    let client = &ours.client;
    let images = one_of_each();
    for (tag, image) in &images {
        client.push(REPOSITORY, tag, image).await;
        client.delete(&format!("/v2/{REPOSITORY}/manifests/{}", image.digest())).await;
        restore(client, &format!("{REPOSITORY}:{tag}"));
    }
    let blob = Image::sha512("blob");
    client.push(REPOSITORY, "blob", &blob).await;
    let digest = &blob.blobs[2].0;
    client.delete(&format!("/v2/{REPOSITORY}/blobs/{digest}")).await;
    let entries = client.json("/v2/_lagan/trash").await;
    let entries = entries["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["digest"] == digest.to_string()).unwrap();
    restore(client, entry["id"].as_str().unwrap());
    ours.stop();

    let registry = other.serve(&data).await;
    for (tag, image) in &images {
        registry.client.assert_served(REPOSITORY, tag, image).await;
    }
    registry.client.assert_served(REPOSITORY, "blob", &blob).await;
    registry.stop();
}
