//! A store as distribution writes it, half of which is garbage.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::digest::sha256_digits;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How many repositories there are.
const REPOSITORIES: usize = 200;

/// How many threads write: what is measured comes later.
const WRITERS: usize = 2;

/// How long ago all of it was written: longer than the grace period.
const AGE: Duration = Duration::from_secs(3 * 24 * 3600);

/// What was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) manifests: usize,
    /// Without the manifests.
    pub(crate) blobs: usize,
    /// Blobs and manifests that nothing needs.
    pub(crate) garbage: usize,
}

/// Writes so many images into a folder, each a manifest with a configuration and a layer of its own. Every second one has
/// been deleted: its revision and its tag are gone, and what it was made of is still there.
pub(crate) fn write(folder: &Path, images: usize) -> Written {
    let registry = folder.join("docker/registry/v2");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let registry = &registry;
            scope.spawn(move || (writer..images).step_by(WRITERS).for_each(|number| write_image(registry, number)));
        }
    });
    Written { manifests: images, blobs: 2 * images, garbage: 3 * (images / 2) }
}

fn write_image(registry: &Path, number: usize) {
    // Each repository has as much garbage as others.
    let repository =
        registry.join(format!("repositories/team-{:02}/app-{:03}", number % 10, number / 2 % REPOSITORIES));
    let [config, layer] = ["configuration", "layer"].map(|kind| {
        let content = format!("{kind} {number} {}", "of an image that nobody runs ".repeat(8));
        let digest = write_blob(registry, content.as_bytes());
        write_file(&repository.join(format!("_layers/sha256/{digest}/link")), format!("sha256:{digest}").as_bytes());
        (digest, content.len())
    });
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{}","size":{}}}]}}"#,
        config.0, config.1, layer.0, layer.1
    );
    let digest = write_blob(registry, manifest.as_bytes());
    if number.is_multiple_of(2) {
        let link = format!("sha256:{digest}");
        let manifests = repository.join("_manifests");
        write_file(&manifests.join(format!("revisions/sha256/{digest}/link")), link.as_bytes());
        write_file(&manifests.join(format!("tags/v{number}/current/link")), link.as_bytes());
        write_file(&manifests.join(format!("tags/v{number}/index/sha256/{digest}/link")), link.as_bytes());
    }
}

/// Its digest in hexadecimal digits.
fn write_blob(registry: &Path, content: &[u8]) -> String {
    let digest = sha256_digits(content);
    write_file(&data(registry, &digest), content);
    digest
}

fn data(registry: &Path, digest: &str) -> PathBuf {
    registry.join(format!("blobs/sha256/{}/{digest}/data", &digest[..2]))
}

fn write_file(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written - AGE).unwrap();
}

/// How many blobs a store has, manifests among them.
pub(crate) fn count_blobs(folder: &Path) -> usize {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let prefixes = entries(&folder.join("docker/registry/v2/blobs/sha256"));
    // Empty folders may stay: they are no blobs.
    prefixes.flat_map(|prefix| entries(&prefix)).filter(|blob| blob.join("data").exists()).count()
}
