use lagan::api::wire::{
    PurgeReport, RepositoryDeletion, RestoreGroupReport, RestoreReport, TombstoneKind, TombstoneView, TrashPage,
};
use lagan::oci::{Algorithm, Digest};
use lagan::storage::DeletionMode;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    image::index,
    registry::{Registry, Setup, expect_error, header},
};

async fn post_json(registry: &Registry, path: &str, body: &Value) -> Response {
    registry.request(Method::POST, path).json(body).send().await.unwrap()
}

async fn restore(registry: &Registry, repository: &str, reference: &str) -> RestoreReport {
    let body = json!({ "repository": repository, "reference": reference });
    let restored = post_json(registry, "/v2/_lagan/restore", &body).await;
    assert_eq!(restored.status(), StatusCode::OK, "{}", restored.text().await.unwrap());
    restored.json().await.unwrap()
}

async fn trash(registry: &Registry, query: &str) -> TrashPage {
    let listed = registry.get(&format!("/v2/_lagan/trash{query}")).await;
    assert_eq!(listed.status(), StatusCode::OK);
    listed.json().await.unwrap()
}

#[tokio::test]
async fn a_deleted_manifest_is_gone_from_every_path_at_once_and_the_404_says_why() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    registry.push_manifest("app", "latest", &manifest).await;
    let other = registry.push_image("app", "v2", b"other").await;
    // Everything is in the caches now.
    registry.get("/v2/app/manifests/v1").await;
    registry.head(&format!("/v2/app/manifests/{}", manifest.digest)).await;

    let deleted = registry.delete(&format!("/v2/app/manifests/{}", manifest.digest)).await;
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    for reference in ["v1".to_owned(), "latest".to_owned(), manifest.digest.to_string()] {
        let detail = registry.expect_no_manifest("app", &reference).await.unwrap();
        assert_eq!(detail["deletedBy"], "anonymous", "{reference}: {detail}");
        assert_eq!(detail["reason"], "deleted through the API");
        assert_eq!(detail["deletedAt"], "2026-06-01T12:00:00Z");
        assert_eq!(detail["restorableUntil"], "2026-06-08T12:00:00Z");
        let id = detail["tombstone"].as_str().unwrap();
        assert_eq!(registry.get(&format!("/v2/_lagan/trash/{id}")).await.status(), StatusCode::OK);
    }
    let tags: Value = registry.get("/v2/app/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], json!(["v2"]));
    assert_eq!(registry.get("/v2/app/manifests/v2").await.bytes().await.unwrap(), other.bytes);
    // Layers stay readable to the repository's pullers.
    assert_eq!(registry.get(&format!("/v2/app/blobs/{}", manifest.layer)).await.status(), StatusCode::OK);
    let again = registry.delete(&format!("/v2/app/manifests/{}", manifest.digest)).await;
    expect_error(again, 404, "MANIFEST_UNKNOWN").await;
}

#[tokio::test]
async fn a_deleted_tag_leaves_its_manifest() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    registry.push_manifest("app", "latest", &manifest).await;
    assert_eq!(registry.delete("/v2/app/manifests/v1").await.status(), StatusCode::ACCEPTED);
    assert!(registry.expect_no_manifest("app", "v1").await.unwrap()["tombstone"].is_string());
    for reference in ["latest".to_owned(), manifest.digest.to_string()] {
        assert_eq!(registry.get(&format!("/v2/app/manifests/{reference}")).await.status(), StatusCode::OK);
    }
    expect_error(registry.delete("/v2/app/manifests/v1").await, 404, "MANIFEST_UNKNOWN").await;
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_only() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("app", b"cargo").await;
    registry.push_blob("other", b"cargo").await;
    let path = format!("/v2/app/blobs/{digest}");
    assert_eq!(registry.get(&path).await.status(), StatusCode::OK);
    assert_eq!(registry.delete(&path).await.status(), StatusCode::ACCEPTED);
    assert_eq!(registry.head(&path).await.status(), StatusCode::NOT_FOUND);
    let detail = expect_error(registry.get(&path).await, 404, "BLOB_UNKNOWN").await.unwrap();
    assert_eq!(detail["deletedBy"], "anonymous");
    expect_error(registry.delete(&path).await, 404, "BLOB_UNKNOWN").await;
    assert_eq!(registry.get(&format!("/v2/other/blobs/{digest}")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_deleted_blob_is_not_promised_to_a_pusher() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("app", b"cargo").await;
    registry.delete(&format!("/v2/app/blobs/{digest}")).await;
    let mounted = registry.post(&format!("/v2/new/blobs/uploads/?mount={digest}&from=app")).await;
    assert_eq!(mounted.status(), StatusCode::ACCEPTED);
    assert_eq!(registry.push_blob("app", b"cargo").await, digest);
    assert_eq!(registry.head(&format!("/v2/app/blobs/{digest}")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_was_deleted_comes_back_with_its_tags_and_bytes() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    registry.push_manifest("app", "latest", &manifest).await;
    registry.delete(&format!("/v2/app/manifests/{}", manifest.digest)).await;
    let report = restore(&registry, "app", "v1").await;
    assert!(!report.already_present);
    assert_eq!(report.digest, manifest.digest);
    for reference in ["v1".to_owned(), "latest".to_owned(), manifest.digest.to_string()] {
        let got = registry.get(&format!("/v2/app/manifests/{reference}")).await;
        assert_eq!(header(&got, "docker-content-digest"), manifest.digest.to_string(), "{reference}");
        assert_eq!(got.bytes().await.unwrap(), manifest.bytes);
    }
    let blob = registry.get(&format!("/v2/app/blobs/{}", manifest.layer)).await;
    assert_eq!(blob.text().await.unwrap(), "cargo");
    assert!(restore(&registry, "app", "v1").await.already_present);
}

#[tokio::test]
async fn an_index_comes_back_with_its_children() {
    let registry = Registry::start().await;
    let child = registry.push_image("app", "child", b"cargo").await;
    let list = index(&[&child]);
    registry.push_manifest("app", "list", &list).await;
    for digest in [&list.digest, &child.digest] {
        assert_eq!(registry.delete(&format!("/v2/app/manifests/{digest}")).await.status(), StatusCode::ACCEPTED);
    }
    let report = restore(&registry, "app", &list.digest.to_string()).await;
    assert!(report.manifests.contains(&child.digest), "{report:?}");
    for digest in [&list.digest, &child.digest] {
        assert_eq!(registry.get(&format!("/v2/app/manifests/{digest}")).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_trash_is_listed_filtered_and_paged() {
    let registry = Registry::start().await;
    for (name, tag) in [("app", "v1"), ("app", "v2"), ("other", "v1")] {
        registry.push_image(name, tag, tag.as_bytes()).await;
        registry.delete(&format!("/v2/{name}/manifests/{tag}")).await;
    }
    assert_eq!(trash(&registry, "").await.entries.len(), 3);
    assert_eq!(trash(&registry, "?repository=app").await.entries.len(), 2);
    let one = trash(&registry, "?repository=app&reference=v2").await.entries;
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].kind, TombstoneKind::Tag);
    assert_eq!(one[0].tags, ["v2".parse().unwrap()]);
    assert_eq!(one[0].actor, "anonymous");

    let mut seen: Vec<TombstoneView> = Vec::new();
    let mut query = Some("?n=2".to_owned());
    while let Some(here) = query {
        let page = trash(&registry, &here).await;
        query = page.next.map(|next| format!("?n=2&last={next}"));
        assert!(page.entries.len() <= 2);
        seen.extend(page.entries);
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted_by(|a, b| a.id > b.id), "newest first");
    for bad in ["?repository=A", "?reference=.x", "?last=x"] {
        expect_error(registry.get(&format!("/v2/_lagan/trash{bad}")).await, 400, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn a_tag_that_points_elsewhere_is_a_conflict_until_it_is_to_be_replaced() {
    let registry = Registry::start().await;
    let old = registry.push_image("app", "v1", b"old").await;
    registry.delete(&format!("/v2/app/manifests/{}", old.digest)).await;
    let id = trash(&registry, "").await.entries[0].id.clone();
    let new = registry.push_image("app", "v1", b"new").await;
    let path = format!("/v2/_lagan/trash/{id}/restore");
    let detail = expect_error(registry.post(&path).await, 409, "CONFLICT").await.unwrap();
    assert_eq!(detail["tag"], "v1");
    assert_eq!(detail["digest"], new.digest.to_string());
    let replaced = post_json(&registry, &path, &json!({ "conflict": "Replace" })).await;
    assert_eq!(replaced.status(), StatusCode::OK);
    let got = registry.get("/v2/app/manifests/v1").await;
    assert_eq!(got.bytes().await.unwrap(), old.bytes);
}

#[tokio::test]
async fn what_never_was_cannot_be_restored() {
    let registry = Registry::start().await;
    let body = json!({ "repository": "app", "reference": "v1" });
    expect_error(post_json(&registry, "/v2/_lagan/restore", &body).await, 404, "NOT_FOUND").await;
    let nobody = "/v2/_lagan/trash/01ARZ3NDEKTSV4RRFFQ69G5FAV";
    expect_error(registry.get(nobody).await, 404, "NOT_FOUND").await;
    expect_error(registry.post(&format!("{nobody}/restore")).await, 404, "NOT_FOUND").await;
    for bad in [json!({}), json!({ "repository": "A", "reference": "v1" }), json!({ "repository": "a", "x": 1 })] {
        expect_error(post_json(&registry, "/v2/_lagan/restore", &bad).await, 400, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn with_deletion_disabled_every_delete_is_an_unsupported_method() {
    let registry = Registry::with(Setup { deletion: DeletionMode::Disabled, ..Setup::default() }).await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    for (path, allowed) in [
        ("manifests/v1".to_owned(), "GET, HEAD, PUT"),
        (format!("manifests/{}", manifest.digest), "GET, HEAD, PUT"),
        (format!("blobs/{}", manifest.layer), "GET, HEAD"),
    ] {
        let refused = registry.delete(&format!("/v2/app/{path}")).await;
        assert_eq!(header(&refused, "allow"), allowed, "{path}");
        expect_error(refused, 405, "UNSUPPORTED").await;
    }
    let location = registry.begin_upload("app").await;
    assert_eq!(registry.delete(&location).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn deleting_what_is_not_there_says_so() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"nothing");
    expect_error(registry.delete(&format!("/v2/app/blobs/{digest}")).await, 404, "BLOB_UNKNOWN").await;
    expect_error(registry.delete(&format!("/v2/app/manifests/{digest}")).await, 404, "MANIFEST_UNKNOWN").await;
    expect_error(registry.delete("/v2/app/manifests/v1").await, 404, "MANIFEST_UNKNOWN").await;
}

#[tokio::test]
async fn purged_entry_is_gone_for_everybody() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    registry.delete(&format!("/v2/app/manifests/{}", manifest.digest)).await;
    let id = trash(&registry, "").await.entries[0].id.clone();
    let purged = registry.delete(&format!("/v2/_lagan/trash/{id}")).await;
    assert_eq!(purged.status(), StatusCode::OK);
    let report: PurgeReport = purged.json().await.unwrap();
    assert_eq!(report.purged[0].restorable_until.to_string(), "2026-06-01T12:00:00Z");
    assert!(trash(&registry, "").await.entries.is_empty());
    for path in [format!("/v2/_lagan/trash/{id}"), format!("/v2/_lagan/trash/{id}/restore")] {
        let method = if path.ends_with("restore") { Method::POST } else { Method::GET };
        expect_error(registry.request(method, &path).send().await.unwrap(), 404, "NOT_FOUND").await;
    }
    expect_error(registry.delete(&format!("/v2/_lagan/trash/{id}")).await, 404, "NOT_FOUND").await;
    // What it was is told to nobody any more.
    let detail = registry.expect_no_manifest("app", "v1").await.unwrap();
    assert_eq!(detail, json!({"reference": "v1"}));
    // A push brings it back as any other.
    registry.push_image("app", "v1", b"cargo").await;
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn repository_is_deleted_and_restored_as_one_group() {
    let registry = Registry::start().await;
    let first = registry.push_image("team/app", "v1", b"first").await;
    registry.push_image("team/app", "v2", b"second").await;
    registry.push_image("team", "v1", b"other").await;
    let counts: Value = registry.get("/v2/_lagan/repositories/team/app").await.json().await.unwrap();
    assert_eq!(counts, json!({"repository": "team/app", "manifests": 2, "tags": 2}));
    let deleted = registry.delete("/v2/_lagan/repositories/team/app").await;
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    let deleted: RepositoryDeletion = deleted.json().await.unwrap();
    assert_eq!((deleted.manifests, deleted.tags), (2, 2));
    let catalog: Value = registry.get("/v2/_catalog").await.json().await.unwrap();
    assert_eq!(catalog["repositories"], json!(["team"]));
    expect_error(registry.get("/v2/team/app/tags/list").await, 404, "NAME_UNKNOWN").await;
    expect_error(registry.get("/v2/_lagan/repositories/team/app").await, 404, "NAME_UNKNOWN").await;
    expect_error(registry.delete("/v2/_lagan/repositories/team/app").await, 404, "NAME_UNKNOWN").await;
    let detail = registry.expect_no_manifest("team/app", "v1").await.unwrap();
    assert_eq!(detail["reason"], "the whole repository was deleted through the API");
    assert_eq!(trash(&registry, &format!("?group={}", deleted.group)).await.entries.len(), 2);

    let body = json!({"repository": "team/app", "group": deleted.group});
    let restored = post_json(&registry, "/v2/_lagan/trash/restore", &body).await;
    assert_eq!(restored.status(), StatusCode::OK);
    let restored: RestoreGroupReport = restored.json().await.unwrap();
    assert_eq!(restored.restored.len(), 2);
    let tags: Value = registry.get("/v2/team/app/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], json!(["v1", "v2"]));
    assert_eq!(registry.get("/v2/team/app/manifests/v1").await.bytes().await.unwrap(), first.bytes);
    expect_error(post_json(&registry, "/v2/_lagan/trash/restore", &body).await, 404, "NOT_FOUND").await;
}

#[tokio::test]
async fn group_is_restored_or_not_by_its_conflicts_and_purged_at_one_go() {
    let registry = Registry::start().await;
    registry.push_image("app", "v1", b"first").await;
    registry.push_image("app", "v2", b"second").await;
    let deleted: RepositoryDeletion = registry.delete("/v2/_lagan/repositories/app").await.json().await.unwrap();
    registry.push_image("app", "v2", b"newer").await;
    let restore = |conflict: &str| json!({"repository": "app", "group": deleted.group, "conflict": conflict});
    expect_error(post_json(&registry, "/v2/_lagan/trash/restore", &restore("Fail")).await, 409, "CONFLICT").await;
    let tags: Value = registry.get("/v2/app/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], json!(["v2"]));
    let replaced = post_json(&registry, "/v2/_lagan/trash/restore", &restore("Replace")).await;
    assert_eq!(replaced.status(), StatusCode::OK);

    let deleted: RepositoryDeletion = registry.delete("/v2/_lagan/repositories/app").await.json().await.unwrap();
    let purge = format!("/v2/_lagan/trash?repository=app&group={}", deleted.group);
    let purged: PurgeReport = registry.delete(&purge).await.json().await.unwrap();
    assert_eq!(purged.purged.len() as u64, deleted.manifests);
    expect_error(registry.delete(&purge).await, 404, "NOT_FOUND").await;
    for incomplete in ["/v2/_lagan/trash", "/v2/_lagan/trash?repository=app", "/v2/_lagan/trash?group=x"] {
        expect_error(registry.delete(incomplete).await, 400, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn nothing_is_deleted_or_purged_where_deletion_is_disabled_or_the_registry_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::on(folder, Setup::default()).await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    registry.push_image("app", "v2", b"other").await;
    registry.delete(&format!("/v2/app/manifests/{}", manifest.digest)).await;
    let entry = trash(&registry, "").await.entries[0].clone();
    let folder = registry.stop().await;
    let disabled = Setup { deletion: DeletionMode::Disabled, ..Setup::default() };
    let registry = Registry::on(folder, disabled).await;
    let attempts = [
        "/v2/app/manifests/v2".to_owned(),
        format!("/v2/app/blobs/{}", manifest.layer),
        "/v2/_lagan/repositories/app".to_owned(),
        format!("/v2/_lagan/trash/{}", entry.id),
        format!("/v2/_lagan/trash?repository=app&group={}", entry.group),
    ];
    for path in &attempts {
        let refused = registry.delete(path).await;
        assert!(!header(&refused, "allow").contains("DELETE"), "{path}");
        expect_error(refused, 405, "UNSUPPORTED").await;
    }
    // It can still be had back.
    assert_eq!(restore(&registry, "app", "v1").await.digest, manifest.digest);
    let folder = registry.stop().await;
    let read_only = Setup { access_mode: lagan::api::v1alpha1::AccessMode::ReadOnly, ..Setup::default() };
    let registry = Registry::on(folder, read_only).await;
    for path in &attempts {
        expect_error(registry.delete(path).await, 405, "UNSUPPORTED").await;
    }
}
