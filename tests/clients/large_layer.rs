//! A layer of six gibibytes: more than an object store copies in one request, and more than 32 bits count.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use serde_json::json;

use crate::registry::Registry;
use crate::support::Program;

on_folder_and_bucket!(layer_of_six_gibibytes_is_pushed_and_pulled_whole_and_in_part);

const SIZE: u64 = 6 << 30;

/// How far apart the marks lie. Between them are holes, so that the file takes some MiB of the disk.
const STEP: u64 = 1 << 20;

fn layer_of_six_gibibytes_is_pushed_and_pulled_whole_and_in_part(registry: &Registry) {
    let layout = registry.folder().join("large");
    let layer = write_layout(&layout);

    let push = registry.address.skopeo("copy", "dest-").args(["--preserve-digests", "--quiet"]);
    let target = format!("docker://{}", registry.address.reference("team/large:v1"));
    push.arg(format!("oci:{}", layout.display())).arg(target).succeeds();

    let reference = registry.address.reference(&format!("team/large@{layer}"));
    let authority = registry.address.authority();
    // What crane reads is not kept: only its digest.
    let pulled = Command::new("bash")
        .args(["-c", "set -o pipefail; crane blob \"$1\" | sha256sum", "bash", &reference])
        .env("DOCKER_CONFIG", registry.address.folder())
        .env("SSL_CERT_FILE", authority)
        .output();
    let pulled = pulled.unwrap();
    let digest = String::from_utf8_lossy(&pulled.stdout).split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(format!("sha256:{digest}"), layer, "{}", String::from_utf8_lossy(&pulled.stderr));
    let at = SIZE - 3 * STEP;
    let url = format!("{}/v2/team/large/blobs/{layer}", registry.address.url());
    let part = registry.address.curl().args(["--range", &format!("{at}-{}", at + 7), &url]).output();
    assert_eq!(part.stdout, mark(at), "{part}");
}

/// What lies at this place: the place itself, so that no two pieces of the layer are alike.
fn mark(at: u64) -> [u8; 8] {
    (at / STEP + 1).to_le_bytes()
}

/// Writes an image of one layer, which nobody unpacks, and returns the layer's digest.
fn write_layout(layout: &Path) -> String {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let file = layout.join("layer");
    write_layer(&file);
    let digest = Program::new("sha256sum").arg(&file).succeeds();
    let digest = digest.split_whitespace().next().unwrap().to_owned();
    fs::rename(file, blobs.join(&digest)).unwrap();
    let layer = format!("sha256:{digest}");
    let write = |value: &serde_json::Value| {
        let text = value.to_string();
        let digest = crate::support::sha256(text.as_bytes());
        fs::write(blobs.join(digest.trim_start_matches("sha256:")), &text).unwrap();
        (digest, text.len())
    };
    let rootfs = json!({"type": "layers", "diff_ids": [layer]});
    let (config, size) = write(&json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs}));
    let (manifest, manifest_size) = write(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": SIZE}],
    }));
    let entry =
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": manifest_size});
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [entry]}).to_string()).unwrap();
    layer
}

fn write_layer(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    for at in (0..SIZE / STEP).map(|number| number * STEP) {
        file.write_all_at(&mark(at), at).unwrap();
    }
}
