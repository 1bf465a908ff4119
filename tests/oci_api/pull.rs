use lagan::oci::{Algorithm, Digest, MediaType};
use reqwest::{Method, StatusCode};

use crate::registry::{Registry, expect_error, header};

#[tokio::test]
async fn the_base_says_what_this_is() {
    let registry = Registry::start().await;
    for path in ["/v2/", "/v2"] {
        let base = registry.get(path).await;
        assert_eq!(base.status(), StatusCode::OK);
        assert_eq!(header(&base, "docker-distribution-api-version"), "registry/2.0");
        assert_eq!(base.text().await.unwrap(), "{}");
    }
}

#[tokio::test]
async fn a_blob_comes_back_whole_with_its_headers() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("team/app", b"cargo").await;
    let path = format!("/v2/team/app/blobs/{digest}");
    for response in [registry.head(&path).await, registry.get(&path).await] {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "content-length"), "5");
        assert_eq!(header(&response, "content-type"), MediaType::OCTET_STREAM);
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&response, "etag"), format!("\"{digest}\""));
        assert_eq!(header(&response, "accept-ranges"), "bytes");
    }
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), &b"cargo"[..]);
}

#[tokio::test]
async fn an_empty_blob_comes_back() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("app", b"").await;
    let got = registry.get(&format!("/v2/app/blobs/{digest}")).await;
    assert_eq!(got.status(), StatusCode::OK);
    assert_eq!(header(&got, "content-length"), "0");
    assert!(got.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_blob_is_a_member_of_its_own_repository_only() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("app", b"cargo").await;
    let detail = expect_error(registry.get(&format!("/v2/other/blobs/{digest}")).await, 404, "BLOB_UNKNOWN").await;
    assert_eq!(detail.unwrap()["digest"], digest.to_string());
    assert_eq!(registry.head(&format!("/v2/other/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn ranges_of_a_blob_are_answered() {
    let registry = Registry::start().await;
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let digest = registry.push_blob("app", &content).await;
    let get = |range: &'static str| {
        registry.request(Method::GET, &format!("/v2/app/blobs/{digest}")).header("range", range).send()
    };
    for (range, expected) in [
        ("bytes=500-1499", 500..1500),
        ("bytes=99000-", 99_000..100_000),
        ("bytes=-500", 99_500..100_000),
        ("bytes=99999-200000", 99_999..100_000),
        ("bytes=0-0", 0..1),
    ] {
        let part = get(range).await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let said = format!("bytes {}-{}/100000", expected.start, expected.end - 1);
        assert_eq!(header(&part, "content-range"), said, "{range}");
        assert_eq!(header(&part, "content-length"), expected.len().to_string(), "{range}");
        assert_eq!(part.bytes().await.unwrap(), &content[expected], "{range}");
    }
    for range in ["bytes=100000-", "bytes=500-0", "bytes=-0"] {
        let refused = get(range).await.unwrap();
        assert_eq!(header(&refused, "content-range"), "bytes */100000", "{range}");
        expect_error(refused, 416, "UNSUPPORTED").await;
    }
    for range in ["bytes=0-1,5-6", "lines=1-2", "bytes=x-y"] {
        let whole = get(range).await.unwrap();
        assert_eq!(whole.status(), StatusCode::OK, "{range}");
        assert_eq!(whole.bytes().await.unwrap().len(), content.len(), "{range}");
    }
}

#[tokio::test]
async fn conditions_save_the_body() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    let blob = format!("/v2/app/blobs/{}", manifest.layer);
    let paths = [(blob.clone(), manifest.layer.clone()), ("/v2/app/manifests/v1".to_owned(), manifest.digest.clone())];
    for (path, digest) in &paths {
        for method in [Method::GET, Method::HEAD] {
            let held = registry.request(method, path).header("if-none-match", format!("\"{digest}\""));
            let held = held.send().await.unwrap();
            assert_eq!(held.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(header(&held, "etag"), format!("\"{digest}\""));
        }
        let other = registry.request(Method::GET, path).header("if-none-match", "\"other\"").send().await.unwrap();
        assert_eq!(other.status(), StatusCode::OK);
    }
    let absent = Digest::of(Algorithm::Sha256, b"absent");
    let condition = registry
        .request(Method::GET, &format!("/v2/app/blobs/{absent}"))
        .header("if-none-match", format!("\"{absent}\""));
    assert_eq!(condition.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    for (held, status) in [(manifest.layer.to_string(), 206), ("other".to_owned(), 200)] {
        let part = registry.request(Method::GET, &blob).header("range", "bytes=0-1");
        let part = part.header("if-range", format!("\"{held}\"")).send().await.unwrap();
        assert_eq!(part.status(), status);
    }
}

#[tokio::test]
async fn a_large_blob_streams_through() {
    let registry = Registry::start().await;
    let content: Vec<u8> = (0_u32..6_000_000).flat_map(u32::to_le_bytes).collect();
    let digest = registry.push_blob("app", &content).await;
    let got = registry.get(&format!("/v2/app/blobs/{digest}")).await;
    assert_eq!(header(&got, "content-length"), content.len().to_string());
    assert_eq!(got.bytes().await.unwrap(), content);
}

#[tokio::test]
async fn sha512_content_is_pushed_and_pulled_by_its_digest() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha512, b"cargo");
    let begun = registry.post("/v2/app/blobs/uploads/?digest-algorithm=sha512").await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = header(&begun, "location");
    let done = registry.put(&format!("{location}?digest={digest}"), "cargo").await;
    assert_eq!(done.status(), StatusCode::CREATED);
    assert_eq!(header(&done, "docker-content-digest"), digest.to_string());
    let got = registry.get(&header(&done, "location")).await;
    assert_eq!(header(&got, "docker-content-digest"), digest.to_string());
    assert_eq!(got.text().await.unwrap(), "cargo");
}
