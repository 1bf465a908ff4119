//! What one request may cost.

use std::time::{Duration, Instant};

use lagan::oci::{Algorithm, Digest, MediaType};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    image::{Manifest, blob_descriptor, image},
    registry::{Registry, Setup, error, expect_error, header},
};

async fn limited() -> Registry {
    Registry::with(Setup { max_blob_size: Some(5), ..Setup::default() }).await
}

#[tokio::test]
async fn a_blob_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let registry = limited().await;
    registry.push_blob("app", b"cargo").await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo!");
    let whole = registry.request(Method::POST, &format!("/v2/app/blobs/uploads/?digest={digest}")).body("cargo!");
    let detail = expect_error(whole.send().await.unwrap(), 413, "SIZE_INVALID").await.unwrap();
    assert_eq!(detail["maxBlobSize"], 5);
    let location = registry.begin_upload("app").await;
    let put = registry.put(&format!("{location}?digest={digest}"), "cargo!").await;
    expect_error(put, 413, "SIZE_INVALID").await;
    assert_eq!(registry.head(&format!("/v2/app/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_blob_that_grows_over_the_limit_is_refused_at_the_byte_that_does() {
    let registry = limited().await;
    let location = registry.begin_upload("app").await;
    assert_eq!(registry.patch(&location, "car").await.status(), StatusCode::ACCEPTED);
    // Announced, and not read.
    expect_error(registry.patch(&location, "go!").await, 413, "SIZE_INVALID").await;
    assert_eq!(header(&registry.get(&location).await, "range"), "0-2");
    // Of a length that is not announced.
    let pieces = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let endless = registry.patch(&location, reqwest::Body::wrap_stream(pieces)).await;
    expect_error(endless, 413, "SIZE_INVALID").await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let done = registry.put(&format!("{location}?digest={digest}"), "go").await;
    assert_eq!(done.status(), StatusCode::CREATED, "what fits can still be finished");
}

#[tokio::test]
async fn bounds_of_a_manifest_have_their_own_messages() {
    let registry = Registry::start().await;
    let entry = blob_descriptor("text/plain", b"absent");
    let many = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": vec![entry; 10_001] });
    let many = Manifest::of(MediaType::OCI_INDEX, &many);
    let deep = (0..64).fold(json!(1), |inner, _| json!([inner]));
    let deep = image(b"cargo", &json!({ "deep": deep }));
    for (manifest, bound) in [(&many, "maxReferences"), (&deep, "maxDepth")] {
        let detail = expect_error(registry.put_manifest("app", "v1", manifest).await, 400, "MANIFEST_INVALID").await;
        assert!(detail.unwrap()[bound].is_number(), "{bound}");
    }
}

/// A push of 10,000 references must not keep small requests waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_references_leave_others_their_turn() {
    let registry = Registry::start().await;
    registry.push_image("app", "small", b"cargo").await;
    let entries: Vec<_> =
        (0..10_000).map(|number| blob_descriptor("text/plain", format!("absent {number}").as_bytes())).collect();
    let list = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries });
    let list = Manifest::of(MediaType::OCI_INDEX, &list);
    let push = registry.put_manifest("app", "large", &list);
    tokio::pin!(push);
    let (mut slowest, mut answered) = (Duration::ZERO, 0);
    let refused = loop {
        let began = Instant::now();
        let mut small = Box::pin(registry.get("/v2/app/manifests/small"));
        tokio::select! {
            refused = &mut push => break refused,
            got = &mut small => assert_eq!(got.status(), StatusCode::OK),
        }
        slowest = slowest.max(began.elapsed());
        answered += 1;
    };
    let missing = error(refused, 400).await;
    assert_eq!(missing.errors.len(), 10_000);
    assert!(answered > 10, "{answered} small requests were answered meanwhile");
    // Most of it is this test's own unoptimized JSON; a runtime that is kept busy takes as long as the push.
    assert!(slowest < Duration::from_secs(2), "the slowest took {slowest:?}");
}

#[tokio::test]
async fn more_tags_than_one_request_may_set_are_refused() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    let manifest = image(b"cargo", &json!({}));
    let with = |count: usize| {
        let tags: Vec<_> = (0..count).map(|number| format!("tag=v{number}")).collect();
        format!("{}?{}", manifest.digest, tags.join("&"))
    };
    expect_error(registry.put_manifest("app", &with(65), &manifest).await, 414, "UNSUPPORTED").await;
    registry.expect_no_manifest("app", "v0").await;
    let pushed = registry.put_manifest("app", &with(64), &manifest).await;
    assert_eq!(pushed.status(), StatusCode::CREATED);
    assert_eq!(header(&pushed, "oci-tag").split(", ").count(), 64);
    assert_eq!(registry.get("/v2/app/manifests/v63").await.bytes().await.unwrap(), manifest.bytes);
}

/// 40 manifests of 4 MiB take turns in 32 MiB, and all of them are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_manifests_take_turns() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    let large = |number: usize| {
        image(b"cargo", &json!({ "annotations": { "n": format!("{number}"), "note": "x".repeat(4_000_000) } }))
    };
    let pushes = (0..40).map(|number| {
        let (registry, manifest) = (&registry, large(number));
        async move { registry.put_manifest("app", &format!("v{number}"), &manifest).await.status() }
    });
    let statuses = futures::future::join_all(pushes).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::CREATED), "{statuses:?}");
}

/// What others began to send, and did not go on with, does not keep a push out for longer than it waits.
#[tokio::test]
async fn stalled_manifests_give_way() {
    let registry = Registry::start().await;
    registry.push_blob("app", b"{}").await;
    registry.push_blob("app", b"cargo").await;
    let head = "PUT /v2/app/manifests/stalled HTTP/1.1\r\nhost: x\r\ncontent-length: 4194304\r\n\r\n";
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut stream = tokio::net::TcpStream::connect(registry.address).await.unwrap();
        stream.write_all(&[head.as_bytes(), &vec![b' '; 70_000]].concat()).await.unwrap();
        stalled.push(stream);
    }
    while registry.in_flight() < 8 {
        tokio::task::yield_now().await;
    }
    let manifest = image(b"cargo", &json!({ "annotations": { "note": "x".repeat(100_000) } }));
    assert_eq!(registry.put_manifest("app", "v1", &manifest).await.status(), StatusCode::CREATED);
}
