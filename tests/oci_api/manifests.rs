use lagan::oci::{Algorithm, Digest, MediaType};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    image::{Manifest, blob_descriptor, image, index},
    registry::{Registry, Setup, error, expect_error, header},
};

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte_by_tag_and_digest() {
    let registry = Registry::start().await;
    registry.push_blob("team/app", b"{}").await;
    registry.push_blob("team/app", b"cargo").await;
    let manifest = image(b"cargo", &json!({ "annotations": { "a": "ä" }, "unknownField": [1] }));
    let pushed = registry.put_manifest("team/app", "v1", &manifest).await;
    assert_eq!(pushed.status(), StatusCode::CREATED);
    assert_eq!(header(&pushed, "location"), format!("/v2/team/app/manifests/{}", manifest.digest));
    assert_eq!(header(&pushed, "docker-content-digest"), manifest.digest.to_string());
    assert_eq!(header(&pushed, "oci-subject"), "");
    for reference in ["v1".to_owned(), manifest.digest.to_string()] {
        let path = format!("/v2/team/app/manifests/{reference}");
        for response in [registry.head(&path).await, registry.get(&path).await] {
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, "content-type"), MediaType::OCI_MANIFEST);
            assert_eq!(header(&response, "content-length"), manifest.bytes.len().to_string());
            assert_eq!(header(&response, "docker-content-digest"), manifest.digest.to_string());
        }
        assert_eq!(registry.get(&path).await.bytes().await.unwrap(), manifest.bytes);
    }
}

#[tokio::test]
async fn a_tag_moves_and_its_old_manifest_stays() {
    let registry = Registry::start().await;
    let old = registry.push_image("app", "latest", b"old").await;
    let new = registry.push_image("app", "latest", b"new").await;
    let got = registry.get("/v2/app/manifests/latest").await;
    assert_eq!(got.bytes().await.unwrap(), new.bytes);
    let got = registry.get(&format!("/v2/app/manifests/{}", old.digest)).await;
    assert_eq!(got.bytes().await.unwrap(), old.bytes);
}

#[tokio::test]
async fn each_missing_reference_is_an_error_of_its_own() {
    let registry = Registry::start().await;
    let manifest = image(b"cargo", &json!({}));
    let refused = error(registry.put_manifest("app", "v1", &manifest).await, 400).await;
    let missing: Vec<_> = refused.errors.iter().map(|e| e.detail.as_ref().unwrap()["digest"].clone()).collect();
    let config = Digest::of(Algorithm::Sha256, b"{}");
    assert_eq!(missing, [json!(config), json!(manifest.layer)]);
    assert!(refused.errors.iter().all(|e| e.code == "MANIFEST_BLOB_UNKNOWN"));

    let list = index(&[&manifest]);
    let refused = error(registry.put_manifest("app", "v1", &list).await, 400).await;
    assert_eq!(refused.errors[0].code, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(refused.errors[0].detail.as_ref().unwrap()["digest"], json!(manifest.digest));
    registry.expect_no_manifest("app", "v1").await;
}

#[tokio::test]
async fn a_size_that_is_not_the_contents_is_refused() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    let mut layer = blob_descriptor("application/vnd.oci.image.layer.v1.tar", b"cargo");
    layer["size"] = json!(4);
    let manifest = image(b"cargo", &json!({ "layers": [layer] }));
    expect_error(registry.put_manifest("app", "v1", &manifest).await, 400, "MANIFEST_INVALID").await;
}

#[tokio::test]
async fn an_index_of_images_and_an_index_of_none_are_taken() {
    let registry = Registry::start().await;
    let one = registry.push_image("app", "one", b"one").await;
    let two = registry.push_image("app", "two", b"two").await;
    for (tag, list) in [("list", index(&[&one, &two])), ("empty", index(&[]))] {
        registry.push_manifest("app", tag, &list).await;
        let got = registry.get(&format!("/v2/app/manifests/{tag}")).await;
        assert_eq!(header(&got, "content-type"), MediaType::OCI_INDEX);
        assert_eq!(got.bytes().await.unwrap(), list.bytes);
    }
}

#[tokio::test]
async fn dockers_media_types_come_back_as_pushed() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    let value = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::DOCKER_MANIFEST,
        "config": blob_descriptor("application/vnd.docker.container.image.v1+json", b"{}"),
        "layers": [],
    });
    let manifest = Manifest::of(MediaType::DOCKER_MANIFEST, &value);
    registry.push_manifest("app", "v1", &manifest).await;
    let list = Manifest::of(
        MediaType::DOCKER_MANIFEST_LIST,
        &json!({
            "schemaVersion": 2,
            "mediaType": MediaType::DOCKER_MANIFEST_LIST,
            "manifests": [manifest.descriptor()],
        }),
    );
    registry.push_manifest("app", "list", &list).await;
    for (tag, media_type) in [("v1", MediaType::DOCKER_MANIFEST), ("list", MediaType::DOCKER_MANIFEST_LIST)] {
        assert_eq!(header(&registry.head(&format!("/v2/app/manifests/{tag}")).await, "content-type"), media_type);
    }
}

#[tokio::test]
async fn a_layer_that_must_not_be_distributed_need_not_be_there() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    let mut foreign = blob_descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", b"elsewhere");
    foreign["urls"] = json!(["https://example.com/layer"]);
    let manifest = image(b"unused", &json!({ "layers": [foreign] }));
    registry.push_manifest("app", "v1", &manifest).await;
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    let other = Digest::of(Algorithm::Sha256, b"other");
    let refused = registry.put_manifest("app", &other.to_string(), &manifest).await;
    expect_error(refused, 400, "DIGEST_INVALID").await;
    registry.expect_no_manifest("app", &other.to_string()).await;
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let registry = Registry::start().await;
    registry.push_image("app", "v1", b"cargo").await;
    let put = |content_type: &'static str, body: String| {
        registry.request(Method::PUT, "/v2/app/manifests/v2").header("content-type", content_type).body(body).send()
    };
    let image = String::from_utf8(image(b"cargo", &json!({})).bytes).unwrap();
    for (content_type, body) in [
        (MediaType::OCI_MANIFEST, "{".to_owned()),
        (MediaType::OCI_MANIFEST, "[]".to_owned()),
        (MediaType::OCI_MANIFEST, format!("{}1", "[".repeat(10_000))),
        (MediaType::DOCKER_MANIFEST, image.clone()),
        (MediaType::OCI_INDEX, image.clone()),
        ("application/json", "{}".to_owned()),
        ("nonsense", image.clone()),
    ] {
        expect_error(put(content_type, body).await.unwrap(), 400, "MANIFEST_INVALID").await;
    }
    registry.expect_no_manifest("app", "v2").await;
    let parameters = put("application/vnd.oci.image.manifest.v1+json; charset=utf-8", image).await.unwrap();
    assert_eq!(parameters.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_manifest_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let registry = Registry::with(Setup { max_manifest_size: 2000, ..Setup::default() }).await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    let bare = image(b"cargo", &json!({ "annotations": { "a": "" } })).bytes.len();
    for (size, status) in [(2000, 201), (2001, 413)] {
        let manifest = image(b"cargo", &json!({ "annotations": { "a": "x".repeat(size - bare) } }));
        assert_eq!(manifest.bytes.len(), size);
        let answer = registry.put_manifest("app", "v1", &manifest).await;
        if status == 201 {
            assert_eq!(answer.status(), status);
        } else {
            let detail = expect_error(answer, status, "SIZE_INVALID").await.unwrap();
            assert_eq!(detail["maxManifestSize"], 2000);
        }
    }
    // Without a length that was announced, the limit holds all the same.
    let pieces = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let endless = registry.put("/v2/app/manifests/v1", reqwest::Body::wrap_stream(pieces)).await;
    expect_error(endless, 413, "SIZE_INVALID").await;
}

#[tokio::test]
async fn a_push_by_digest_sets_the_tags_of_its_parameters() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    let manifest = image(b"cargo", &json!({}));
    let sha512 = Digest::of(Algorithm::Sha512, &manifest.bytes);
    for (digest, tags) in [(manifest.digest.clone(), ["1.2.3", "latest"]), (sha512, ["big", "bigger"])] {
        let reference = format!("{digest}?tag={}&tag={}", tags[0], tags[1]);
        let pushed = registry.put_manifest("app", &reference, &manifest).await;
        assert_eq!(pushed.status(), StatusCode::CREATED);
        assert_eq!(header(&pushed, "oci-tag"), tags.join(", "));
        for tag in tags {
            let head = registry.head(&format!("/v2/app/manifests/{tag}")).await;
            assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
        }
    }
    let refused = registry.put_manifest("app", &format!("{}?tag=.bad", manifest.digest), &manifest).await;
    expect_error(refused, 400, "MANIFEST_INVALID").await;
}

#[tokio::test]
async fn the_case_of_a_content_type_means_nothing() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    for extra in [json!({}), json!({ "mediaType": MediaType::OCI_MANIFEST })] {
        let manifest = image(b"cargo", &extra);
        let sent = registry.request(Method::PUT, "/v2/app/manifests/v1");
        let loud = MediaType::OCI_MANIFEST.to_uppercase();
        let pushed = sent.header("content-type", loud).body(manifest.bytes.clone()).send().await.unwrap();
        assert_eq!(pushed.status(), StatusCode::CREATED, "{}", pushed.text().await.unwrap());
        let got = registry.get("/v2/app/manifests/v1").await;
        assert_eq!(header(&got, "content-type"), MediaType::OCI_MANIFEST);
    }
}
