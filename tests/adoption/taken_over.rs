//! A folder that another registry wrote, served by Lagan.

use lagan::oci::{Algorithm, Digest};
use reqwest::{Method, StatusCode};

use super::{
    folders::{assert_untouched, tree},
    image::{Image, one_of_each},
    registry::{Kind, lagan, lagan_command},
};

const REPOSITORY: &str = "team/app";

pub(crate) async fn served_as_it_is(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let registry = other.serve(&data).await;
    let images = one_of_each();
    for (tag, image) in &images {
        registry.client.push(REPOSITORY, tag, image).await;
    }
    let (old, new) = (Image::oci("old"), Image::oci("new"));
    registry.client.push("moved", "latest", &old).await;
    registry.client.push("moved", "latest", &new).await;
    let signature = Image::about("signature", &old);
    registry.client.push_untagged("moved", &signature).await;
    registry.stop();

    let before = tree(&data);
    let adopted = lagan(&data).await;
    let client = &adopted.client;
    assert_eq!(client.catalog().await, ["moved", REPOSITORY]);
    assert_eq!(client.tags(REPOSITORY).await, ["docker", "index", "list", "oci", "sha512"]);
    for (tag, image) in &images {
        client.assert_served(REPOSITORY, tag, image).await;
    }
    client.assert_served("moved", "latest", &new).await;
    client.assert_served("moved", &old.digest().to_string(), &old).await;
    let referrers = client.json(&format!("/v2/moved/referrers/{}", old.digest())).await;
    assert_eq!(referrers["manifests"][0]["digest"], signature.digest().to_string(), "{referrers}");
    adopted.stop();
    assert_untouched(&before, &tree(&data));
}

pub(crate) async fn upload_goes_on(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let registry = other.serve(&data).await;
    let content = b"flotsam and jetsam ".repeat(5000);
    let (first, second) = content.split_at(40_000);
    let begun = registry.client.begin_upload(REPOSITORY).await;
    let id = begun.headers()["Docker-Upload-UUID"].to_str().unwrap().to_owned();
    let location = registry.client.location(&begun);
    let patch = registry.client.request(Method::PATCH, &location).header("Content-Type", "application/octet-stream");
    assert_eq!(patch.body(first.to_vec()).send().await.unwrap().status(), StatusCode::ACCEPTED);
    registry.stop();

    let adopted = lagan(&data).await;
    let client = &adopted.client;
    let upload = format!("/v2/{REPOSITORY}/blobs/uploads/{id}");
    let digest = Digest::of(Algorithm::Sha256, &content);
    let status = client.get(&upload).await;
    assert_eq!(status.status(), StatusCode::NO_CONTENT);
    assert_eq!(status.headers()["Range"], format!("0-{}", first.len() - 1).as_str());
    let put = client.request(Method::PUT, &format!("{upload}?digest={digest}"));
    let put = put.header("Content-Range", format!("{}-{}", first.len(), content.len() - 1));
    let put = put.header("Content-Type", "application/octet-stream").body(second.to_vec());
    assert_eq!(put.send().await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(client.get(&format!("/v2/{REPOSITORY}/blobs/{digest}")).await.bytes().await.unwrap(), content);
    assert_eq!(client.status(Method::GET, &upload).await, StatusCode::NOT_FOUND, "it is over");
    adopted.stop();
}

pub(crate) async fn pushes_are_understood(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let registry = other.serve(&data).await;
    let (theirs, ours) = (Image::sha512("theirs"), Image::sha512("ours"));
    registry.client.push(REPOSITORY, "latest", &theirs).await;
    registry.stop();

    let adopted = lagan(&data).await;
    adopted.client.push(REPOSITORY, "latest", &ours).await;
    // What is there already is pushed again under another name, too.
    adopted.client.push("other/name", "copy", &theirs).await;
    adopted.client.assert_served(REPOSITORY, "latest", &ours).await;
    adopted.stop();

    let registry = other.serve(&data).await;
    registry.client.assert_served(REPOSITORY, "latest", &ours).await;
    registry.client.assert_served(REPOSITORY, &theirs.digest().to_string(), &theirs).await;
    registry.client.assert_served("other/name", "copy", &theirs).await;
    assert_eq!(registry.client.catalog().await, ["other/name", REPOSITORY]);
    registry.stop();
}

pub(crate) async fn deleted_and_restored(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let registry = other.serve(&data).await;
    let images = one_of_each();
    for (tag, image) in &images {
        registry.client.push(REPOSITORY, tag, image).await;
    }
    registry.stop();

    let adopted = lagan(&data).await;
    let client = &adopted.client;
    for (tag, image) in &images {
        client.delete(&format!("/v2/{REPOSITORY}/manifests/{}", image.digest())).await;
        assert_eq!(
            client.status(Method::GET, &format!("/v2/{REPOSITORY}/manifests/{tag}")).await,
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(client.tags(REPOSITORY).await, [""; 0]);
    for (tag, image) in &images {
        let restored = lagan_command()
            .args(["trash", "restore", &format!("{REPOSITORY}:{tag}"), "--registry", &client.url])
            .output()
            .unwrap();
        assert!(restored.status.success(), "{tag}: {}", String::from_utf8_lossy(&restored.stderr));
        client.assert_served(REPOSITORY, tag, image).await;
    }
    adopted.stop();

    let registry = other.serve(&data).await;
    for (tag, image) in &images {
        registry.client.assert_served(REPOSITORY, tag, image).await;
    }
    registry.stop();
}
