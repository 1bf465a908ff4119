//! Images on disk, as OCI layouts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Program, digest::sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What a layer holds.
pub(crate) enum Layer<'a> {
    /// A static busybox and its applets: enough for a pod to run.
    Busybox,
    /// A file in the image's root, made of lines that its name begins.
    File { name: &'a str, lines: usize },
    /// A file in the image's root with this content.
    #[allow(dead_code, reason = "the tests on a cluster push nothing that large")]
    Bytes { name: &'a str, content: &'a [u8] },
}

/// An image, or an index of images, in an OCI layout with one entry.
pub(crate) struct Image {
    layout: TempDir,
    /// The digest of the manifest or index.
    pub(crate) digest: String,
    /// The digests of the manifests that an index lists; none for an image.
    pub(crate) children: Vec<String>,
    /// The digests of all layers.
    pub(crate) layers: Vec<String>,
}

impl Image {
    /// An image of one platform.
    pub(crate) fn of(layers: &[Layer<'_>]) -> Self {
        let layout = Layout::new();
        let (descriptor, layers) = layout.image("amd64", layers);
        layout.finish(&descriptor, Vec::new(), layers)
    }

    /// A small image that no other name gives.
    pub(crate) fn named(name: &str) -> Self {
        Self::of(&[Layer::File { name, lines: 100 }, Layer::File { name: &format!("{name}-more"), lines: 2000 }])
    }

    /// An index of two platforms, whose images share a layer.
    pub(crate) fn index(name: &str) -> Self {
        let layout = Layout::new();
        let shared = || Layer::File { name, lines: 500 };
        let arm = format!("{name}-arm64");
        let (first, mut layers) = layout.image("amd64", &[Layer::Busybox, shared()]);
        let (second, others) = layout.image("arm64", &[shared(), Layer::File { name: &arm, lines: 500 }]);
        layers.extend(others);
        let children = [&first, &second].map(|child| child["digest"].as_str().unwrap().to_owned());
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [first, second]});
        let descriptor = layout.blob(INDEX, index.to_string().as_bytes());
        layout.finish(&descriptor, children.to_vec(), layers)
    }

    /// The folder that holds it.
    pub(crate) fn layout(&self) -> &Path {
        self.layout.path()
    }

    /// The bytes of what has this digest.
    pub(crate) fn blob(&self, digest: &str) -> Vec<u8> {
        fs::read(blob_path(self.layout(), digest)).unwrap()
    }
}

/// Where an OCI layout keeps what has this digest.
pub(crate) fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// A layout that is being written.
struct Layout(TempDir);

impl Layout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(folder)
    }

    /// Writes a blob, and returns its descriptor.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        fs::write(blob_path(self.0.path(), &digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Writes an image, and returns its descriptor and its layers' digests.
    fn image(&self, architecture: &str, layers: &[Layer<'_>]) -> (Value, Vec<String>) {
        let written: Vec<(String, Value)> = layers.iter().map(|layer| self.layer(layer)).collect();
        let diff_ids: Vec<&String> = written.iter().map(|(diff_id, _)| diff_id).collect();
        let descriptors: Vec<&Value> = written.iter().map(|(_, descriptor)| descriptor).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors});
        let mut descriptor = self.blob(MANIFEST, manifest.to_string().as_bytes());
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        let digests = descriptors.iter().map(|d| d["digest"].as_str().unwrap().to_owned()).collect();
        (descriptor, digests)
    }

    /// Writes a layer, and returns the digest of its tar and its descriptor.
    fn layer(&self, layer: &Layer<'_>) -> (String, Value) {
        let root = tempfile::tempdir().unwrap();
        match layer {
            Layer::Busybox => lay_out_busybox(root.path()),
            Layer::File { name, lines } => {
                let lines: Vec<String> = (0..*lines).map(|line| format!("{name} {line}")).collect();
                fs::write(root.path().join(name), lines.join("\n")).unwrap();
            }
            Layer::Bytes { name, content } => fs::write(root.path().join(name), content).unwrap(),
        }
        // Fixed times and owners: the same content is the same digest.
        let tar = Program::new("tar")
            .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"])
            .args(["--mode=u=rwX,go=rX", "--directory"])
            .arg(root.path())
            .arg(".")
            .output();
        assert!(tar.is_success(), "{tar}");
        let gzip = Program::new("gzip").arg("--no-name").input(tar.stdout.clone()).output();
        assert!(gzip.is_success(), "{gzip}");
        (sha256(&tar.stdout), self.blob(LAYER, &gzip.stdout))
    }

    fn finish(self, descriptor: &Value, children: Vec<String>, layers: Vec<String>) -> Image {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
        fs::write(self.0.path().join("index.json"), index.to_string()).unwrap();
        let digest = descriptor["digest"].as_str().unwrap().to_owned();
        Image { layout: self.0, digest, children, layers }
    }
}

fn lay_out_busybox(root: &Path) {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.expect("busybox-static is not installed: `tests/run` does it"), bin.join("busybox")).unwrap();
    for applet in ["sh", "sleep", "cat", "wget", "nslookup", "id", "ls"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
}
