//! Every kind of manifest, pushed by tag and by digest, comes back as it was.

use lagan::oci::{Algorithm, Digest, MediaType};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    image::{Manifest, blob_descriptor},
    registry::{Registry, header},
};

const LAYER: &[u8] = b"cargo";

fn descriptor(algorithm: Algorithm, media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(algorithm, content), "size": content.len() })
}

/// A manifest of one layer whose blobs are addressed with an algorithm.
fn manifest(algorithm: Algorithm, config: &str, layer: &str, more: &Value) -> Value {
    let mut value = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor(algorithm, config, b"{}"),
        "layers": [descriptor(algorithm, layer, LAYER)],
    });
    for (key, field) in more.as_object().into_iter().flatten() {
        value[key] = field.clone();
    }
    value
}

fn kinds(algorithm: Algorithm) -> Vec<(&'static str, Value)> {
    let image = "application/vnd.oci.image.config.v1+json";
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let empty = "application/vnd.oci.empty.v1+json";
    let of = |config, layer, more| manifest(algorithm, config, layer, &more);
    let absent = Digest::of(algorithm, b"not there");
    vec![
        ("image", of(image, "application/vnd.oci.image.layer.v1.tar+gzip", json!({}))),
        ("zstd", of(image, "application/vnd.oci.image.layer.v1.tar+zstd", json!({}))),
        ("no-layers", of(image, tar, json!({ "layers": [] }))),
        ("artifact", of(empty, "text/plain", json!({ "artifactType": "application/vnd.example.sbom+json" }))),
        ("config-type", of("application/vnd.example.config+json", "application/x-anything", json!({}))),
        ("annotations", of(image, tar, json!({ "annotations": { "org.example.note": "zwölf" } }))),
        ("custom-fields", of(image, tar, json!({ "org.example": { "deep": [1, { "er": null }] } }))),
        (
            "absent-subject",
            of(
                image,
                tar,
                json!({ "subject": {
            "mediaType": MediaType::OCI_MANIFEST, "digest": absent, "size": 9
        } }),
            ),
        ),
        (
            "data-field",
            of(
                image,
                tar,
                json!({ "config": {
            "mediaType": image, "digest": Digest::of(algorithm, b"{}"), "size": 2, "data": "e30="
        } }),
            ),
        ),
        (
            "nondistributable",
            of(
                image,
                tar,
                json!({ "layers": [{
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": absent, "size": 9, "urls": ["https://example.com/layer"]
        }] }),
            ),
        ),
    ]
}

async fn push_blobs(registry: &Registry, name: &str, algorithm: Algorithm) {
    for content in [&b"{}"[..], LAYER] {
        let digest = Digest::of(algorithm, content);
        let location = registry.post(&format!("/v2/{name}/blobs/uploads/?digest-algorithm={algorithm}")).await;
        let location = header(&location, "location");
        let done = registry.put(&format!("{location}?digest={digest}"), content.to_vec()).await;
        assert_eq!(done.status(), StatusCode::CREATED);
    }
}

async fn expect_same(registry: &Registry, name: &str, reference: &str, digest: &Digest, manifest: &Manifest) {
    let path = format!("/v2/{name}/manifests/{reference}");
    for response in [registry.head(&path).await, registry.get(&path).await] {
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "content-type"), manifest.media_type, "{path}");
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string(), "{path}");
    }
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), manifest.bytes, "{path}");
}

#[tokio::test]
async fn every_kind_of_manifest_comes_back_with_either_algorithm() {
    let registry = Registry::start().await;
    for algorithm in Algorithm::ALL {
        let name = format!("team/{algorithm}");
        push_blobs(&registry, &name, algorithm).await;
        for (kind, value) in kinds(algorithm) {
            let manifest = Manifest::of(MediaType::OCI_MANIFEST, &value);
            let digest = Digest::of(algorithm, &manifest.bytes);
            let pushed = registry.put_manifest(&name, &format!("{digest}?tag={kind}"), &manifest).await;
            assert_eq!(pushed.status(), StatusCode::CREATED, "{kind}: {}", pushed.text().await.unwrap());
            assert_eq!(header(&pushed, "docker-content-digest"), digest.to_string());
            expect_same(&registry, &name, kind, &digest, &manifest).await;
            expect_same(&registry, &name, &digest.to_string(), &digest, &manifest).await;
        }
        let tags = registry.get(&format!("/v2/{name}/tags/list")).await.json::<Value>().await.unwrap();
        assert_eq!(tags["tags"].as_array().unwrap().len(), kinds(algorithm).len());
    }
}

#[tokio::test]
async fn indexes_of_indexes_and_of_blobs_come_back() {
    let registry = Registry::start().await;
    let image = registry.push_image("app", "v1", LAYER).await;
    let list = |media_type: &'static str, entries: Value| {
        Manifest::of(media_type, &json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }))
    };
    let inner = list(MediaType::OCI_INDEX, json!([image.descriptor()]));
    let outer = list(MediaType::OCI_INDEX, json!([inner.descriptor(), image.descriptor()]));
    // image-spec allows any media type in an index.
    let of_blobs = list(MediaType::OCI_INDEX, json!([blob_descriptor("text/plain", LAYER)]));
    let dockers = list(MediaType::DOCKER_MANIFEST_LIST, json!([image.descriptor()]));
    let cases = [("inner", inner), ("outer", outer), ("of-blobs", of_blobs), ("dockers", dockers)];
    for (tag, manifest) in &cases {
        registry.push_manifest("app", tag, manifest).await;
        expect_same(&registry, "app", tag, &manifest.digest, manifest).await;
    }
}

#[tokio::test]
async fn a_manifest_of_four_mebibytes_comes_back() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", LAYER).await;
    let with = |length: usize| {
        let note = json!({ "annotations": { "note": "x".repeat(length) } });
        let image = "application/vnd.oci.image.config.v1+json";
        Manifest::of(MediaType::OCI_MANIFEST, &manifest(Algorithm::Sha256, image, "text/plain", &note))
    };
    let large = with((4 << 20) - with(0).bytes.len());
    assert_eq!(large.bytes.len(), 4 << 20);
    registry.push_manifest("app", "large", &large).await;
    expect_same(&registry, "app", "large", &large.digest, &large).await;
}
