//! buildah: building, and layers in zstd.

use serde_json::Value;

use crate::podman::{Store, write_context};
use crate::registry::Registry;

on_folder_and_bucket!(image_is_pushed_in_gzip_and_in_zstd_and_pulled_again);

fn image_is_pushed_in_gzip_and_in_zstd_and_pulled_again(registry: &Registry) {
    let store = Store::in_folder(&registry.folder().join("buildah"));

    for compression in ["gzip", "zstd"] {
        // An image of its own: buildah sends a layer only once, as it did the first time.
        let context = registry.folder().join(compression);
        write_context(&context, compression);
        let build = store.program("buildah", "bud").args(["--isolation", "chroot", "--tag", "localhost/built:v1"]);
        build.arg(&context).succeeds();
        let name = registry.address.reference(&format!("team/{compression}:v1"));
        let push = store.program("buildah", "push").args(["--quiet", "--creds", &registry.login(), "--cert-dir"]);
        let push = push.arg(registry.address.folder()).args(["--compression-format", compression]);
        push.arg("localhost/built:v1").arg(format!("docker://{name}")).succeeds();

        let manifest: Value = serde_json::from_str(&registry.address.crane("manifest").arg(&name).succeeds()).unwrap();
        let layer = manifest["layers"][0]["mediaType"].as_str().unwrap();
        assert_eq!(layer, format!("application/vnd.oci.image.layer.v1.tar+{compression}"), "{manifest:#}");
        let pull = store.program("buildah", "pull").args(["--quiet", "--policy", "always", "--creds"]);
        pull.arg(registry.login()).arg("--cert-dir").arg(registry.address.folder()).arg(&name).succeeds();
    }
}
