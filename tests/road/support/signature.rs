//! What refers to an image, as a signature does.

use serde_json::json;

use super::{Image, Registry, sha256_digits};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The type of the signatures that are pushed here.
const SIGNATURE: &str = "application/vnd.example.signature";

/// A signature that was pushed: a manifest without a tag, whose subject is another one.
pub(crate) struct Signature {
    /// Its digest.
    pub(crate) digest: String,
    /// Its bytes.
    pub(crate) content: String,
}

impl Signature {
    /// Pushes one of an index that a repository has.
    pub(crate) fn pushed(registry: &Registry, repository: &str, index: &Image) -> Self {
        let address = &registry.address;
        let config = "{}";
        let config_digest = digest(config);
        let url = format!("{}/v2/{repository}/blobs/uploads/?digest={config_digest}", address.url());
        let curl = address.curl().args(["--fail-with-body", "--request", "POST", "--data-binary", config]);
        curl.args(["--header", "Content-Type: application/octet-stream"]).arg(url).succeeds();
        let content = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SIGNATURE, "layers": [],
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config_digest, "size": config.len()},
            "subject": {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": index.digest,
                "size": index.blob(&index.digest).len()},
        })
        .to_string();
        let digest = digest(&content);
        let curl = address.curl().args(["--fail-with-body", "--request", "PUT", "--data-binary", &content]);
        let url = format!("{}/v2/{repository}/manifests/{digest}", address.url());
        curl.args(["--header", &format!("Content-Type: {MANIFEST}")]).arg(url).succeeds();
        Self { digest, content }
    }
}

fn digest(content: &str) -> String {
    format!("sha256:{}", sha256_digits(content.as_bytes()))
}
