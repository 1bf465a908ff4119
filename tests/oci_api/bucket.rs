//! A registry on a bucket, and what only such a one does: it sends pulls to the store, and likes large chunks.

use lagan::oci::{Algorithm, Digest, MediaType};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use crate::environment::variable_of_tests_run;
use crate::image::{Manifest, blob_descriptor};
use crate::registry::{Registry, Setup, expect_error, header, install_crypto};
use crate::s3::s3_fields;
use crate::server::Server;

/// What every upload on a bucket is told.
const LEAST_CHUNK: usize = 8 << 20;

/// `lagan serve` on a bucket of the S3 server that `tests/run` has started.
struct OnBucket {
    server: Server,
    client: Client,
    _folder: TempDir,
}

impl OnBucket {
    async fn start(redirect: &'static str) -> Self {
        install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let [endpoint, region] = ["LAGAN_TEST_S3_ENDPOINT", "LAGAN_TEST_S3_REGION"].map(variable_of_tests_run);
        let prefix = format!("api-{:08x}", rand::random::<u32>());
        let s3 = s3_fields(&endpoint, &prefix, folder.path());
        let configuration = format!(
            "auth: {{anonymous: All}}\nstorage: {{type: S3, s3: {{{s3}, region: {region}, redirect: {redirect}}}}}"
        );
        // It blocks until the registry is ready.
        let (server, folder) =
            tokio::task::spawn_blocking(move || (Server::start(folder.path(), &configuration), folder)).await.unwrap();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { server, client, _folder: folder }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.server.address))
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn begin_upload(&self) -> Response {
        let begun = self.request(Method::POST, "/v2/a/blobs/uploads/").send().await.unwrap();
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        begun
    }

    async fn patch(&self, location: &str, chunk: &[u8]) -> Response {
        self.request(Method::PATCH, location).body(chunk.to_vec()).send().await.unwrap()
    }

    async fn commit(&self, location: &str, digest: &Digest, rest: &[u8]) {
        let done = self.request(Method::PUT, &format!("{location}?digest={digest}")).body(rest.to_vec());
        let done = done.send().await.unwrap();
        assert_eq!(done.status(), StatusCode::CREATED, "{}", done.text().await.unwrap());
    }

    async fn push(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, content);
        let location = header(&self.begin_upload().await, "location");
        self.commit(&location, &digest, content).await;
        digest
    }
}

/// Bytes of which no two megabytes are alike.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)).to_le_bytes()[0]).collect()
}

#[tokio::test]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run --only drivers"]
async fn pulls_of_blobs_are_sent_to_the_store_where_the_registry_says_so() {
    let registry = OnBucket::start("Enabled").await;
    for bytes in [b"small".to_vec(), content(9 << 20)] {
        let digest = registry.push(&bytes).await;
        let path = format!("/v2/a/blobs/{digest}");
        let sent = registry.get(&path).await;
        assert_eq!(sent.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(header(&sent, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&sent, "cache-control"), "no-store");
        let location = header(&sent, "location");
        assert!(location.starts_with(&variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT")), "{location}");
        // Anybody may fetch from there: no credentials of the registry, and none of the store.
        let anybody = Client::builder().no_proxy().build().unwrap();
        let pulled = anybody.get(&location).send().await.unwrap();
        assert_eq!(pulled.status(), StatusCode::OK);
        assert!(pulled.bytes().await.unwrap() == bytes, "the store sends other bytes");
        let part = anybody.get(&location).header("range", "bytes=1-3").send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.bytes().await.unwrap(), bytes[1..=3]);
        let unsigned = location.split('?').next().unwrap();
        assert!(
            anybody.get(unsigned).send().await.unwrap().status().is_client_error(),
            "the bucket is open to everybody"
        );
        // A client that follows by itself, as all of them do.
        let followed = anybody.get(format!("http://{}{path}", registry.server.address));
        let followed = followed.header("range", "bytes=2-4").send().await.unwrap();
        assert_eq!(followed.bytes().await.unwrap(), bytes[2..=4]);

        let head = registry.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, bytes.len().to_string()));
        let held = registry.request(Method::GET, &path).header("if-none-match", format!("\"{digest}\""));
        assert_eq!(held.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    }
    let unknown = Digest::of(Algorithm::Sha256, b"never pushed");
    expect_error(registry.get(&format!("/v2/a/blobs/{unknown}")).await, 404, "BLOB_UNKNOWN").await;
}

#[tokio::test]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run --only drivers"]
async fn manifests_are_sent_by_the_registry_itself_and_what_was_deleted_is_sent_nowhere() {
    let registry = OnBucket::start("Enabled").await;
    let config = registry.push(b"{}").await;
    let value = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": blob_descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [],
    });
    let manifest = Manifest::of(MediaType::OCI_MANIFEST, &value);
    let put = registry.request(Method::PUT, "/v2/a/manifests/v1").header("content-type", MediaType::OCI_MANIFEST);
    assert_eq!(put.body(manifest.bytes.clone()).send().await.unwrap().status(), StatusCode::CREATED);
    let pulled = registry.get("/v2/a/manifests/v1").await;
    assert_eq!(pulled.status(), StatusCode::OK);
    assert_eq!(pulled.bytes().await.unwrap(), manifest.bytes);
    let path = format!("/v2/a/blobs/{config}");
    assert_eq!(registry.get(&path).await.status(), StatusCode::TEMPORARY_REDIRECT);
    let deleted = registry.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    expect_error(registry.get(&path).await, 404, "BLOB_UNKNOWN").await;
}

#[tokio::test]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run --only drivers"]
async fn the_registry_sends_the_bytes_of_a_bucket_itself_where_redirects_are_disabled() {
    let registry = OnBucket::start("Disabled").await;
    let bytes = content(9 << 20);
    let path = format!("/v2/a/blobs/{}", registry.push(&bytes).await);
    let pulled = registry.get(&path).await;
    assert_eq!(pulled.status(), StatusCode::OK);
    assert!(pulled.bytes().await.unwrap() == bytes, "the registry sends other bytes");
    let part = registry.request(Method::GET, &path).header("range", "bytes=8388600-8388615").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), bytes[8_388_600..=8_388_615]);
}

#[tokio::test]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run --only drivers"]
async fn uploads_on_a_bucket_say_which_chunks_they_like_and_take_others_too() {
    let registry = OnBucket::start("Disabled").await;
    let bytes = content(2 * LEAST_CHUNK + 12_345);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    // As they like it; smaller than that, and in between; and all of it with the end.
    for cuts in [&[LEAST_CHUNK, 2 * LEAST_CHUNK][..], &[1, 100, LEAST_CHUNK + 50, LEAST_CHUNK + 51], &[]] {
        let begun = registry.begin_upload().await;
        assert_eq!(header(&begun, "oci-chunk-min-length"), LEAST_CHUNK.to_string());
        let mut location = header(&begun, "location");
        let mut from = 0;
        for &to in cuts {
            let sent = registry.patch(&location, &bytes[from..to]).await;
            assert_eq!(sent.status(), StatusCode::ACCEPTED, "{}", sent.text().await.unwrap());
            assert_eq!(header(&sent, "range"), format!("0-{}", to - 1));
            location = header(&sent, "location");
            let status = registry.get(&location).await;
            assert_eq!(header(&status, "range"), format!("0-{}", to - 1), "it is found by who comes back");
            from = to;
        }
        registry.commit(&location, &digest, &bytes[from..]).await;
        let pulled = registry.get(&format!("/v2/a/blobs/{digest}")).await;
        assert!(pulled.bytes().await.unwrap() == bytes, "in chunks to {cuts:?}");
    }
}

#[tokio::test]
async fn a_folder_sends_its_bytes_itself_and_likes_all_chunks() {
    let registry = Registry::with(Setup { redirects: true, ..Setup::default() }).await;
    let digest = registry.push_blob("a", b"some").await;
    let pulled = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(pulled.status(), StatusCode::OK, "there is no address that it could name");
    assert_eq!(pulled.bytes().await.unwrap(), "some");
    assert_eq!(header(&registry.post("/v2/a/blobs/uploads/").await, "oci-chunk-min-length"), "");
}
