//! A bucket that another registry wrote, served by Lagan, and back.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use reqwest::{Method, StatusCode};

use super::{
    folders::{assert_untouched, tree},
    image::{Image, one_of_each},
    registry::{Kind, Registry, lagan_serving},
};

const REPOSITORY: &str = "team/app";

/// A part of a bucket that is one test's alone.
struct Bucket {
    prefix: String,
    folder: tempfile::TempDir,
}

fn variable(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: `tests/run --only adoption` starts the server and does"))
}

impl Bucket {
    fn new() -> Self {
        Self { prefix: ulid::Ulid::generate().to_string(), folder: tempfile::tempdir().unwrap() }
    }

    /// Where versitygw keeps what is in it.
    fn files(&self) -> PathBuf {
        let servers = variable("LAGAN_SERVERS_DIR");
        Path::new(&servers).join("versitygw").join(variable("LAGAN_TEST_S3_BUCKET")).join(&self.prefix)
    }

    async fn serve_with(&self, other: Kind) -> Registry {
        let storage = format!(
            "  s3: {{region: {}, regionendpoint: '{}', bucket: {}, accesskey: {}, secretkey: {}, secure: false, \
             v4auth: true, forcepathstyle: true, rootdirectory: /{}}}\n  redirect: {{disable: true}}",
            variable("LAGAN_TEST_S3_REGION"),
            variable("LAGAN_TEST_S3_ENDPOINT"),
            variable("LAGAN_TEST_S3_BUCKET"),
            variable("LAGAN_TEST_S3_ACCESS_KEY"),
            variable("LAGAN_TEST_S3_SECRET_KEY"),
            self.prefix
        );
        other.serve_storage(&self.folder.path().join("other"), &storage).await
    }

    async fn serve_with_lagan(&self) -> Registry {
        let credentials = self.folder.path().join("s3");
        fs::create_dir_all(&credentials).unwrap();
        fs::write(credentials.join("AWS_ACCESS_KEY_ID"), variable("LAGAN_TEST_S3_ACCESS_KEY")).unwrap();
        fs::write(credentials.join("AWS_SECRET_ACCESS_KEY"), variable("LAGAN_TEST_S3_SECRET_KEY")).unwrap();
        let storage = format!(
            "{{type: S3, s3: {{bucket: {}, endpoint: '{}', addressing: Path, prefix: {}, credentialsDirectory: {}}}}}",
            variable("LAGAN_TEST_S3_BUCKET"),
            variable("LAGAN_TEST_S3_ENDPOINT"),
            self.prefix,
            credentials.display()
        );
        lagan_serving(self.folder.path(), &storage).await
    }
}

pub(crate) async fn served_as_it_is(other: Kind) {
    let bucket = Bucket::new();
    let registry = bucket.serve_with(other).await;
    let images = one_of_each();
    for (tag, image) in &images {
        registry.client.push(REPOSITORY, tag, image).await;
    }
    registry.stop();

    let before = tree(&bucket.files());
    assert!(before.len() > 20, "the server keeps its files elsewhere");
    let adopted = bucket.serve_with_lagan().await;
    assert_eq!(adopted.client.catalog().await, [REPOSITORY]);
    assert_eq!(adopted.client.tags(REPOSITORY).await, ["docker", "index", "list", "oci", "sha512"]);
    for (tag, image) in &images {
        adopted.client.assert_served(REPOSITORY, tag, image).await;
    }
    assert_untouched(&before, &tree(&bucket.files()));
    let ours = Image::sha512("ours");
    adopted.client.push(REPOSITORY, "ours", &ours).await;
    adopted.client.push(REPOSITORY, "oci", &ours).await;
    adopted.stop();

    let registry = bucket.serve_with(other).await;
    for tag in ["ours", "oci"] {
        registry.client.assert_served(REPOSITORY, tag, &ours).await;
    }
    for (_, image) in &images {
        registry.client.assert_served(REPOSITORY, &image.digest().to_string(), image).await;
    }
    registry.stop();
}

pub(crate) async fn deletes_hold(other: Kind) {
    let bucket = Bucket::new();
    let ours = bucket.serve_with_lagan().await;
    let (kept, by_tag, by_digest) = (Image::oci("kept"), Image::oci("by tag"), Image::sha512("by digest"));
    for (tag, image) in [("kept", &kept), ("by-tag", &by_tag), ("by-digest", &by_digest)] {
        ours.client.push(REPOSITORY, tag, image).await;
    }
    ours.client.delete(&format!("/v2/{REPOSITORY}/manifests/by-tag")).await;
    ours.client.delete(&format!("/v2/{REPOSITORY}/manifests/{}", by_digest.digest())).await;
    ours.client.delete(&format!("/v2/{REPOSITORY}/blobs/{}", by_digest.blobs[2].0)).await;
    ours.stop();

    let registry = bucket.serve_with(other).await;
    for path in [
        "manifests/by-tag".to_owned(),
        "manifests/by-digest".to_owned(),
        format!("manifests/{}", by_digest.digest()),
        format!("blobs/{}", by_digest.blobs[2].0),
    ] {
        let status = registry.client.status(Method::GET, &format!("/v2/{REPOSITORY}/{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(registry.client.tags(REPOSITORY).await, ["kept"]);
    registry.client.assert_served(REPOSITORY, "kept", &kept).await;
    registry.client.assert_served(REPOSITORY, &by_tag.digest().to_string(), &by_tag).await;
    registry.stop();
}
