//! Images to push.

use lagan::oci::{Algorithm, Digest, MediaType};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::registry::{Registry, expect_error};

/// A manifest's bytes and what they are.
pub(crate) struct Manifest {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) layer: Digest,
}

impl Manifest {
    pub(crate) fn of(media_type: &'static str, value: &Value) -> Self {
        let bytes = serde_json::to_vec_pretty(value).unwrap();
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        Self { media_type, layer: digest.clone(), bytes, digest }
    }

    pub(crate) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

pub(crate) fn blob_descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(Algorithm::Sha256, content), "size": content.len() })
}

/// An image manifest of one layer, both blobs of which have to be pushed.
pub(crate) fn image(layer: &[u8], more: &Value) -> Manifest {
    let mut value = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": blob_descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [blob_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    for (key, field) in more.as_object().into_iter().flatten() {
        value[key] = field.clone();
    }
    let manifest = Manifest::of(MediaType::OCI_MANIFEST, &value);
    Manifest { layer: Digest::of(Algorithm::Sha256, layer), ..manifest }
}

pub(crate) fn index(children: &[&Manifest]) -> Manifest {
    let manifests: Vec<Value> = children.iter().map(|child| child.descriptor()).collect();
    let value = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
    Manifest::of(MediaType::OCI_INDEX, &value)
}

impl Registry {
    /// PUTs a manifest, whatever comes of it.
    pub(crate) async fn put_manifest(&self, name: &str, reference: &str, manifest: &Manifest) -> Response {
        self.request(Method::PUT, &format!("/v2/{name}/manifests/{reference}"))
            .header("content-type", manifest.media_type)
            .body(manifest.bytes.clone())
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn push_manifest(&self, name: &str, reference: &str, manifest: &Manifest) {
        let pushed = self.put_manifest(name, reference, manifest).await;
        assert_eq!(pushed.status(), StatusCode::CREATED, "{}", pushed.text().await.unwrap());
    }

    /// Pushes an image of one layer under a tag.
    pub(crate) async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Manifest {
        self.push_blob(name, b"{}").await;
        self.push_blob(name, layer).await;
        let manifest = image(layer, &json!({}));
        self.push_manifest(name, tag, &manifest).await;
        manifest
    }

    /// Checks that a manifest is nowhere to be had, and returns the detail.
    pub(crate) async fn expect_no_manifest(&self, name: &str, reference: &str) -> Option<Value> {
        let path = format!("/v2/{name}/manifests/{reference}");
        assert_eq!(self.head(&path).await.status(), StatusCode::NOT_FOUND);
        expect_error(self.get(&path).await, 404, "MANIFEST_UNKNOWN").await
    }
}
