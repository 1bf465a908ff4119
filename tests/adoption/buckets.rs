//! A bucket that another registry wrote, served by Lagan, and back.

use reqwest::{Method, StatusCode};

use super::{
    environment::variable_of_tests_run,
    folders::{assert_untouched, tree},
    image::{Image, one_of_each},
    registry::{Kind, Registry, lagan_serving},
    s3::s3_fields,
    versitygw::objects_under,
};

const REPOSITORY: &str = "team/app";

/// A part of a bucket that is one test's alone.
struct Bucket {
    prefix: String,
    folder: tempfile::TempDir,
}

impl Bucket {
    fn new() -> Self {
        Self { prefix: ulid::Ulid::generate().to_string(), folder: tempfile::tempdir().unwrap() }
    }

    async fn serve_with(&self, other: Kind) -> Registry {
        let storage = format!(
            "  s3: {{region: {}, regionendpoint: '{}', bucket: {}, accesskey: {}, secretkey: {}, secure: false, \
             v4auth: true, forcepathstyle: true, rootdirectory: /{}}}\n  redirect: {{disable: true}}",
            variable_of_tests_run("LAGAN_TEST_S3_REGION"),
            variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT"),
            variable_of_tests_run("LAGAN_TEST_S3_BUCKET"),
            variable_of_tests_run("LAGAN_TEST_S3_ACCESS_KEY"),
            variable_of_tests_run("LAGAN_TEST_S3_SECRET_KEY"),
            self.prefix
        );
        other.serve_storage(&self.folder.path().join("other"), &storage).await
    }

    async fn serve_with_lagan(&self) -> Registry {
        let endpoint = variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT");
        let s3 = s3_fields(&endpoint, &self.prefix, &self.folder.path().join("s3"));
        lagan_serving(self.folder.path(), &format!("{{type: S3, s3: {{{s3}}}}}")).await
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

    let before = tree(&objects_under(&bucket.prefix));
    assert!(before.len() > 20, "the server keeps its files elsewhere");
    let adopted = bucket.serve_with_lagan().await;
    assert_eq!(adopted.client.catalog().await, [REPOSITORY]);
    assert_eq!(adopted.client.tags(REPOSITORY).await, ["docker", "index", "list", "oci", "sha512"]);
    for (tag, image) in &images {
        adopted.client.assert_served(REPOSITORY, tag, image).await;
    }
    assert_untouched(&before, &tree(&objects_under(&bucket.prefix)));
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
