//! Images in memory.

use lagan::oci::{Algorithm, Digest};
use serde_json::{Value, json};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest, with the blobs that it needs and, of an index, the images that it lists.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) media_type: &'static str,
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
    pub(crate) children: Vec<Image>,
}

fn config_type(media_type: &str) -> (&'static str, &'static str) {
    if media_type == DOCKER_MANIFEST {
        ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    } else {
        ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
    }
}

impl Image {
    /// An image of two layers, whose second is addressed by `algorithm`.
    fn with(label: &str, media_type: &'static str, algorithm: Algorithm, subject: Option<&Image>) -> Self {
        let config = json!({"architecture": "amd64", "os": "linux", "label": label, "rootfs": {"type": "layers", "diff_ids": []}});
        let contents = [
            (Algorithm::Sha256, config.to_string().into_bytes()),
            (Algorithm::Sha256, format!("base of {label} ").repeat(500).into_bytes()),
            (algorithm, format!("top of {label} ").repeat(3000).into_bytes()),
        ];
        let blobs: Vec<(Digest, Vec<u8>)> =
            contents.into_iter().map(|(algorithm, bytes)| (Digest::of(algorithm, &bytes), bytes)).collect();
        let (config_type, layer_type) = config_type(media_type);
        let descriptors: Vec<Value> = blobs
            .iter()
            .enumerate()
            .map(|(at, (digest, bytes))| {
                let media_type = if at == 0 { config_type } else { layer_type };
                json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
            })
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": descriptors[0], "layers": descriptors[1..],
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject.descriptor();
        }
        Self { media_type, manifest: manifest.to_string().into_bytes(), blobs, children: Vec::new() }
    }

    pub(crate) fn oci(label: &str) -> Self {
        Self::with(label, OCI_MANIFEST, Algorithm::Sha256, None)
    }

    pub(crate) fn docker(label: &str) -> Self {
        Self::with(label, DOCKER_MANIFEST, Algorithm::Sha256, None)
    }

    /// An image with a layer that is addressed by SHA-512.
    pub(crate) fn sha512(label: &str) -> Self {
        Self::with(label, OCI_MANIFEST, Algorithm::Sha512, None)
    }

    /// An image that refers to another one.
    pub(crate) fn about(label: &str, subject: &Image) -> Self {
        Self::with(label, OCI_MANIFEST, Algorithm::Sha256, Some(subject))
    }

    /// An index of two images.
    pub(crate) fn index(label: &str, media_type: &'static str) -> Self {
        let child = if media_type == DOCKER_LIST { Self::docker } else { Self::oci };
        let children = vec![child(&format!("{label} amd64")), child(&format!("{label} arm64"))];
        let descriptors: Vec<Value> = ["amd64", "arm64"]
            .iter()
            .zip(&children)
            .map(|(architecture, child)| {
                let mut descriptor = child.descriptor();
                descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
                descriptor
            })
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": descriptors});
        Self { media_type, manifest: manifest.to_string().into_bytes(), blobs: Vec::new(), children }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(Algorithm::Sha256, &self.manifest)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest().to_string(), "size": self.manifest.len()})
    }
}

/// One image of each kind that all three registries take, with its tag.
pub(crate) fn one_of_each() -> Vec<(&'static str, Image)> {
    vec![
        ("oci", Image::oci("oci")),
        ("docker", Image::docker("docker")),
        ("sha512", Image::sha512("sha512")),
        ("index", Image::index("index", OCI_INDEX)),
        ("list", Image::index("list", DOCKER_LIST)),
    ]
}
