//! What lies on a registry's volume.

use std::fs;

use super::Node;
use crate::support::{Image, Namespace, Operator, Registry};

#[test]
#[ignore = "needs the cluster of tests/run"]
fn deleted_image_keeps_its_blobs_on_the_volume() {
    Operator::installed();
    let namespace = Namespace::new("volume");
    let registry = Registry::applied(&namespace, "registry", "");
    let image = Image::index("volume");
    registry.address.push(&image, "team/app:v1");

    registry.address.delete("team/app:v1");
    let answer = registry.address.get(&format!("/v2/team/app/manifests/{}", image.digest));
    assert_eq!(answer.status, 404, "{answer:?}");

    let blobs = Node::volume_of(&namespace, "registry-data").join("docker/registry/v2/blobs/sha256");
    for digest in [&image.digest].into_iter().chain(&image.children).chain(&image.layers) {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let data = fs::read(blobs.join(&hex[..2]).join(hex).join("data")).unwrap();
        assert_eq!(data, image.blob(digest), "{digest}");
    }
}
