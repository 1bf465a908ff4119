use lagan::oci::{Algorithm, Digest, MediaType};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    image::{Manifest, image, index},
    registry::{Registry, expect_error, header},
};

/// The path of the next page.
fn next(response: &reqwest::Response) -> Option<String> {
    let link = header(response, "link");
    let (target, relation) = link.strip_prefix('<')?.split_once('>')?;
    assert_eq!(relation, "; rel=\"next\"");
    Some(target.to_owned())
}

async fn json_of(response: reqwest::Response) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("team/app", "v1", b"cargo").await;
    for tag in ["a", "Z", "v10", "v2", "_x"] {
        registry.push_manifest("team/app", tag, &manifest).await;
    }
    let all = ["Z", "_x", "a", "v1", "v10", "v2"];
    let list = json_of(registry.get("/v2/team/app/tags/list").await).await;
    assert_eq!(list, json!({ "name": "team/app", "tags": all }));

    let mut seen = Vec::new();
    let mut path = Some("/v2/team/app/tags/list?n=4".to_owned());
    while let Some(here) = path {
        let page = registry.get(&here).await;
        path = next(&page);
        seen.push(json_of(page).await["tags"].clone());
    }
    assert_eq!(seen, [json!(all[..4]), json!(all[4..])]);

    let after = json_of(registry.get("/v2/team/app/tags/list?last=a").await).await;
    assert_eq!(after["tags"], json!(all[3..]));
    let after_absent = json_of(registry.get("/v2/team/app/tags/list?last=b&n=1").await).await;
    assert_eq!(after_absent["tags"], json!(["v1"]));
    let end = registry.get("/v2/team/app/tags/list?last=v2&n=5").await;
    assert_eq!(next(&end), None);
    assert_eq!(json_of(end).await["tags"], json!([]));
}

#[tokio::test]
async fn no_tags_are_listed_where_none_are_asked_for() {
    let registry = Registry::start().await;
    registry.push_image("app", "v1", b"cargo").await;
    let none = registry.get("/v2/app/tags/list?n=0").await;
    assert_eq!(next(&none), None);
    assert_eq!(json_of(none).await["tags"], json!([]));
}

#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list_and_an_unknown_one_has_none() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    expect_error(registry.get("/v2/app/tags/list").await, 404, "NAME_UNKNOWN").await;
    expect_error(registry.get("/v2/app/tags/list?n=0").await, 404, "NAME_UNKNOWN").await;
    let manifest = image(b"cargo", &json!({}));
    registry.push_manifest("app", &manifest.digest.to_string(), &manifest).await;
    assert_eq!(json_of(registry.get("/v2/app/tags/list").await).await["tags"], json!([]));
}

#[tokio::test]
async fn the_catalog_lists_repositories_in_pages() {
    let registry = Registry::start().await;
    for name in ["b", "a/c", "a", "a-b", "d/e/f"] {
        registry.push_image(name, "v1", b"cargo").await;
    }
    registry.push_blob("only/blobs", b"cargo").await;
    let mut seen: Vec<String> = Vec::new();
    let mut path = Some("/v2/_catalog?n=2".to_owned());
    while let Some(here) = path {
        let page = registry.get(&here).await;
        path = next(&page);
        let list = json_of(page).await;
        let names = list["repositories"].as_array().unwrap();
        assert!(names.len() <= 2);
        seen.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, ["a", "a-b", "a/c", "b", "d/e/f"]);
    let none = json_of(registry.get("/v2/_catalog?n=0").await).await;
    assert_eq!(none, json!({ "repositories": [] }));
}

#[tokio::test]
async fn referrers_are_listed_with_type_and_annotations() {
    let registry = Registry::start().await;
    let subject = registry.push_image("app", "v1", b"cargo").await;
    let refers = |more: Value| {
        let mut more = more;
        more["subject"] = subject.descriptor();
        image(b"cargo", &more)
    };
    let typed = refers(json!({ "artifactType": "application/x.sbom+json", "annotations": { "k": "v" } }));
    let untyped = refers(json!({}));
    for manifest in [&typed, &untyped] {
        let pushed = registry.put_manifest("app", &manifest.digest.to_string(), manifest).await;
        assert_eq!(pushed.status(), StatusCode::CREATED);
        assert_eq!(header(&pushed, "oci-subject"), subject.digest.to_string());
    }
    let path = format!("/v2/app/referrers/{}", subject.digest);
    let listed = registry.get(&path).await;
    assert_eq!(header(&listed, "content-type"), MediaType::OCI_INDEX);
    assert_eq!(header(&listed, "oci-filters-applied"), "");
    let listed = json_of(listed).await;
    assert_eq!(listed["schemaVersion"], 2);
    assert_eq!(listed["mediaType"], MediaType::OCI_INDEX);
    let find = |manifest: &Manifest| {
        let entries = listed["manifests"].as_array().unwrap().iter();
        entries.clone().find(|entry| entry["digest"] == json!(manifest.digest)).unwrap().clone()
    };
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 2);
    let mut expected = typed.descriptor();
    expected["artifactType"] = json!("application/x.sbom+json");
    expected["annotations"] = json!({ "k": "v" });
    assert_eq!(find(&typed), expected);
    assert_eq!(find(&untyped)["artifactType"], "application/vnd.oci.image.config.v1+json");

    for encoded in ["application%2Fx.sbom%2Bjson", "application/x.sbom+json"] {
        let filtered = registry.get(&format!("{path}?artifactType={encoded}")).await;
        assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
        assert_eq!(json_of(filtered).await["manifests"], json!([expected]), "{encoded}");
    }
}

#[tokio::test]
async fn an_index_refers_without_a_type_of_its_own() {
    let registry = Registry::start().await;
    let subject = registry.push_image("app", "v1", b"cargo").await;
    let mut value: Value = serde_json::from_slice(&index(&[]).bytes).unwrap();
    value["subject"] = subject.descriptor();
    let list = Manifest::of(MediaType::OCI_INDEX, &value);
    registry.push_manifest("app", "list", &list).await;
    let listed = json_of(registry.get(&format!("/v2/app/referrers/{}", subject.digest)).await).await;
    assert_eq!(listed["manifests"], json!([list.descriptor()]));
}

#[tokio::test]
async fn a_referrer_may_come_before_its_subject() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    let subject = image(b"cargo", &json!({ "annotations": { "later": "yes" } }));
    let referrer = image(b"cargo", &json!({ "subject": subject.descriptor() }));
    registry.push_manifest("app", "signature", &referrer).await;
    let listed = json_of(registry.get(&format!("/v2/app/referrers/{}", subject.digest)).await).await;
    assert_eq!(listed["manifests"][0]["digest"], json!(referrer.digest));
}

#[tokio::test]
async fn what_nobody_refers_to_has_an_empty_index() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"nothing");
    let listed = json_of(registry.get(&format!("/v2/nowhere/referrers/{digest}")).await).await;
    assert_eq!(listed["manifests"], json!([]));
    expect_error(registry.get("/v2/app/referrers/sha256:00").await, 400, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn a_deleted_referrer_is_not_listed() {
    let registry = Registry::start().await;
    let subject = registry.push_image("app", "v1", b"cargo").await;
    let referrer = image(b"cargo", &json!({ "subject": subject.descriptor() }));
    registry.push_manifest("app", &referrer.digest.to_string(), &referrer).await;
    registry.delete(&format!("/v2/app/manifests/{}", referrer.digest)).await;
    let listed = json_of(registry.get(&format!("/v2/app/referrers/{}", subject.digest)).await).await;
    assert_eq!(listed["manifests"], json!([]));
}

#[tokio::test]
async fn capabilities_are_those_of_this_process() {
    let registry = Registry::start().await;
    let said: serde_json::Value = registry.get("/v2/_lagan/").await.json().await.unwrap();
    assert_eq!(
        said["capabilities"],
        serde_json::json!(["trash", "restore", "purge", "repositories", "history", "retention", "gc"])
    );
    expect_error(registry.get("/v2/_lagan/scrub").await, 404, "UNSUPPORTED").await;
}
