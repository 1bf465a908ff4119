//! Images in memory, as small as they can be.

use lagan::oci::{Algorithm, Digest};
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest, with the blobs that it needs and, of an index, the images that it lists.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) media_type: &'static str,
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
    pub(crate) children: Vec<Image>,
    /// What it refers to.
    pub(crate) subject: Option<Digest>,
}

impl Image {
    pub(crate) fn named(label: &str) -> Self {
        Self::about(label, None)
    }

    /// An image that refers to another one, or to none.
    pub(crate) fn about(label: &str, subject: Option<&Image>) -> Self {
        let config = json!({"architecture": "amd64", "os": "linux", "label": label}).to_string().into_bytes();
        let layer = format!("layer of {label} ").repeat(20).into_bytes();
        let blobs: Vec<_> = [config, layer].map(|bytes| (Digest::of(Algorithm::Sha256, &bytes), bytes)).into();
        let descriptor = |kind: &str, at: usize| {
            let (digest, bytes): &(Digest, Vec<u8>) = &blobs[at];
            json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
        };
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", 0),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", 1)],
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject.descriptor();
        }
        let (manifest, subject) = (manifest.to_string().into_bytes(), subject.map(Image::digest));
        Self { media_type: MANIFEST, manifest, blobs, children: Vec::new(), subject }
    }

    /// An index of images.
    pub(crate) fn index(children: Vec<Image>) -> Self {
        let descriptors: Vec<Value> = children.iter().map(Image::descriptor).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors});
        let manifest = manifest.to_string().into_bytes();
        Self { media_type: INDEX, manifest, blobs: Vec::new(), children, subject: None }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(Algorithm::Sha256, &self.manifest)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest().to_string(), "size": self.manifest.len()})
    }
}
