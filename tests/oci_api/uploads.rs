use lagan::oci::{Algorithm, Digest};
use reqwest::{Method, Response, StatusCode};

use crate::registry::{Registry, expect_error, header};

async fn chunk(registry: &Registry, method: Method, path: &str, range: &str, body: &'static str) -> Response {
    registry.request(method, path).header("content-range", range).body(body).send().await.unwrap()
}

async fn expect_blob(registry: &Registry, done: Response, digest: &Digest, content: &str) {
    assert_eq!(done.status(), StatusCode::CREATED);
    assert_eq!(header(&done, "docker-content-digest"), digest.to_string());
    let got = registry.get(&header(&done, "location")).await;
    assert_eq!(got.status(), StatusCode::OK);
    assert_eq!(got.text().await.unwrap(), content);
}

#[tokio::test]
async fn a_blob_is_taken_in_one_post() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let path = format!("/v2/app/blobs/uploads/?digest={digest}");
    let done = registry.request(Method::POST, &path).body("cargo").send().await.unwrap();
    expect_blob(&registry, done, &digest, "cargo").await;
}

#[tokio::test]
async fn a_blob_is_taken_in_post_and_put() {
    let registry = Registry::start().await;
    let begun = registry.post("/v2/app/blobs/uploads/").await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    assert_eq!(header(&begun, "range"), "0-0");
    let location = header(&begun, "location");
    assert!(location.ends_with(&header(&begun, "docker-upload-uuid")));
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let done = registry.put(&format!("{location}?digest={digest}"), "cargo").await;
    expect_blob(&registry, done, &digest, "cargo").await;
    expect_error(registry.get(&location).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
}

#[tokio::test]
async fn a_blob_is_taken_as_a_stream() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    let pieces = futures::stream::iter(["car", "go"].map(Ok::<_, std::io::Error>));
    let sent = registry.patch(&location, reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(sent.status(), StatusCode::ACCEPTED);
    assert_eq!(header(&sent, "range"), "0-4");
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let done = registry.put(&format!("{}?digest={digest}", header(&sent, "location")), "").await;
    expect_blob(&registry, done, &digest, "cargo").await;
}

#[tokio::test]
async fn a_blob_is_taken_in_chunks_the_last_of_which_may_be_in_the_put() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    for last_in_put in [false, true] {
        let location = registry.begin_upload("app").await;
        let first = chunk(&registry, Method::PATCH, &location, "0-2", "car").await;
        assert_eq!(first.status(), StatusCode::ACCEPTED);
        assert_eq!(header(&first, "range"), "0-2");
        let location = header(&first, "location");
        let put = format!("{location}?digest={digest}");
        let done = if last_in_put {
            chunk(&registry, Method::PUT, &put, "3-4", "go").await
        } else {
            let second = chunk(&registry, Method::PATCH, &location, "3-4", "go").await;
            assert_eq!(header(&second, "range"), "0-4");
            registry.put(&put, "").await
        };
        expect_blob(&registry, done, &digest, "cargo").await;
    }
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_with_the_true_range() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    let refused = chunk(&registry, Method::PATCH, &location, "3-4", "go").await;
    assert_eq!(header(&refused, "location"), location);
    expect_error(refused, 416, "BLOB_UPLOAD_INVALID").await;

    chunk(&registry, Method::PATCH, &location, "0-2", "car").await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let put = format!("{location}?digest={digest}");
    for (method, path, range) in
        [(Method::PATCH, &location, "0-2"), (Method::PATCH, &location, "4-6"), (Method::PUT, &put, "0-2")]
    {
        let refused = chunk(&registry, method, path, range, "car").await;
        assert_eq!(header(&refused, "range"), "0-2");
        expect_error(refused, 416, "BLOB_UPLOAD_INVALID").await;
    }
    let status = registry.get(&location).await;
    assert_eq!(status.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&status, "range"), "0-2");
    let done = chunk(&registry, Method::PUT, &put, "3-4", "go").await;
    expect_blob(&registry, done, &digest, "cargo").await;
}

/// A server that closes while its client still sends breaks the connection before the answer is read.
#[tokio::test]
async fn a_client_that_sends_a_large_chunk_out_of_order_learns_of_it() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    for _ in 0..4 {
        let chunk = vec![0; 32 << 20];
        let range = format!("10-{}", chunk.len() + 9);
        let sent = registry.request(Method::PATCH, &location).header("content-range", range).body(chunk);
        expect_error(sent.send().await.unwrap(), 416, "BLOB_UPLOAD_INVALID").await;
    }
}

#[tokio::test]
async fn a_chunk_of_another_length_than_it_says_is_refused() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    let refused = chunk(&registry, Method::PATCH, &location, "0-9", "car").await;
    expect_error(refused, 400, "SIZE_INVALID").await;
    for range in ["0", "2-0", "a-b", "-1"] {
        let refused = chunk(&registry, Method::PATCH, &location, range, "car").await;
        expect_error(refused, 400, "BLOB_UPLOAD_INVALID").await;
    }
    assert_eq!(header(&registry.get(&location).await, "range"), "0-0");
}

#[tokio::test]
async fn content_of_another_digest_is_refused_and_not_visible() {
    let registry = Registry::start().await;
    let promised = Digest::of(Algorithm::Sha256, b"cargo");
    let actual = Digest::of(Algorithm::Sha256, b"ballast");
    let location = registry.begin_upload("app").await;
    let put = registry.put(&format!("{location}?digest={promised}"), "ballast").await;
    let detail = expect_error(put, 400, "DIGEST_INVALID").await.unwrap();
    assert_eq!(detail["actual"], actual.to_string());
    let post = registry.request(Method::POST, &format!("/v2/app/blobs/uploads/?digest={promised}"));
    expect_error(post.body("ballast").send().await.unwrap(), 400, "DIGEST_INVALID").await;
    for digest in [promised, actual] {
        assert_eq!(registry.head(&format!("/v2/app/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn an_upload_is_cancelled() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    registry.patch(&location, "car").await;
    assert_eq!(registry.delete(&location).await.status(), StatusCode::NO_CONTENT);
    expect_error(registry.get(&location).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
    expect_error(registry.patch(&location, "go").await, 404, "BLOB_UPLOAD_UNKNOWN").await;
    expect_error(registry.delete(&location).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    let elsewhere = location.replace("/v2/app/", "/v2/other/");
    expect_error(registry.get(&elsewhere).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
    expect_error(registry.patch(&elsewhere, "x").await, 404, "BLOB_UPLOAD_UNKNOWN").await;
}

#[tokio::test]
async fn a_put_without_digest_is_refused_and_keeps_the_upload() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    registry.patch(&location, "cargo").await;
    expect_error(registry.put(&location, "").await, 400, "DIGEST_INVALID").await;
    expect_error(registry.put(&format!("{location}?digest=sha256:00"), "").await, 400, "DIGEST_INVALID").await;
    assert_eq!(header(&registry.get(&location).await, "range"), "0-4");
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("team/base", b"cargo").await;
    let mounted = registry.post(&format!("/v2/app/blobs/uploads/?mount={digest}&from=team%2Fbase")).await;
    assert_eq!(header(&mounted, "location"), format!("/v2/app/blobs/{digest}"));
    expect_blob(&registry, mounted, &digest, "cargo").await;
}

#[tokio::test]
async fn a_blob_is_mounted_from_wherever_it_was_seen_last() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("team/base", b"cargo").await;
    let mounted = registry.post(&format!("/v2/app/blobs/uploads/?mount={digest}")).await;
    expect_blob(&registry, mounted, &digest, "cargo").await;
}

#[tokio::test]
async fn a_mount_of_what_is_not_there_becomes_an_upload() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    for query in [format!("mount={digest}&from=team/base"), format!("mount={digest}")] {
        let begun = registry.post(&format!("/v2/app/blobs/uploads/?{query}")).await;
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        let done = registry.put(&format!("{}?digest={digest}", header(&begun, "location")), "cargo").await;
        expect_blob(&registry, done, &digest, "cargo").await;
        assert_eq!(registry.delete(&format!("/v2/app/blobs/{digest}")).await.status(), StatusCode::ACCEPTED);
    }
}
