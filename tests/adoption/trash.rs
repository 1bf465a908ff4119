//! What another registry's garbage collection does to the trash.

use reqwest::{Method, StatusCode};

use super::{
    image::Image,
    registry::{Kind, lagan, lagan_command},
};

pub(crate) async fn collected_trash_is_missing(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ours = lagan(&data).await;
    let (kept, deleted) = (Image::oci("kept"), Image::oci("deleted"));
    ours.client.push("app", "kept", &kept).await;
    ours.client.push("app", "deleted", &deleted).await;
    ours.client.delete(&format!("/v2/app/manifests/{}", deleted.digest())).await;
    let entries = ours.client.json("/v2/_lagan/trash").await;
    assert_eq!(entries["entries"][0]["state"], "Restorable", "{entries}");
    ours.stop();
    other.collect_garbage(&data);

    let ours = lagan(&data).await;
    let client = &ours.client;
    client.assert_served("app", "kept", &kept).await;
    let entries = client.json("/v2/_lagan/trash").await;
    assert_eq!(entries["entries"][0]["state"], "Missing", "{entries}");
    let id = entries["entries"][0]["id"].as_str().unwrap();
    assert_eq!(client.json(&format!("/v2/_lagan/trash/{id}")).await["state"], "Missing");
    let restore = client.request(Method::POST, &format!("/v2/_lagan/trash/{id}/restore")).send().await.unwrap();
    assert_eq!(restore.status(), StatusCode::CONFLICT);
    let trash = |arguments: &[&str]| {
        let done = lagan_command().arg("trash").args(arguments).args(["--registry", &client.url]).output().unwrap();
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    let (_, listed, _) = trash(&["list"]);
    assert!(listed.contains("Missing"), "{listed}");
    let (code, _, said) = trash(&["restore", id, "--dry-run"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("gone"), "{said}");

    // Whoever has it can push it again.
    client.push("app", "deleted", &deleted).await;
    client.assert_served("app", "deleted", &deleted).await;
    ours.stop();
}
