//! Tags that never move.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    image::image,
    registry::{Registry, Setup, error},
};

async fn registry() -> Registry {
    Registry::with(Setup { immutable_tags: vec!["v*".to_owned()], ..Setup::default() }).await
}

#[tokio::test]
async fn an_immutable_tag_takes_no_other_manifest_and_the_same_again() {
    let registry = registry().await;
    let first = registry.push_image("app", "v1", b"first").await;
    let other = registry.push_image("app", "latest", b"other").await;
    let refused = error(registry.put_manifest("app", "v1", &other).await, 409).await;
    assert_eq!(refused.errors[0].code, "DENIED");
    assert_eq!(refused.errors[0].detail, Some(json!({ "tag": "v1", "digest": first.digest })));
    registry.push_manifest("app", "v1", &first).await;
    registry.push_manifest("app", "latest", &first).await;
    registry.push_manifest("app", "v2", &other).await;
    let got = registry.get("/v2/app/manifests/v1").await;
    assert_eq!(got.bytes().await.unwrap(), first.bytes);
}

#[tokio::test]
async fn a_push_by_digest_moves_no_immutable_tag_and_none_beside_it() {
    let registry = registry().await;
    let first = registry.push_image("app", "v1", b"first").await;
    registry.push_blob("app", b"other").await;
    let other = image(b"other", &json!({}));
    let path = format!("/v2/app/manifests/{}?tag=new&tag=v1", other.digest);
    let put = registry.request(Method::PUT, &path).header("content-type", other.media_type).body(other.bytes.clone());
    let refused = error(put.send().await.unwrap(), 409).await;
    assert_eq!(refused.errors[0].code, "DENIED");
    registry.expect_no_manifest("app", "new").await;
    registry.expect_no_manifest("app", &other.digest.to_string()).await;
    assert_eq!(registry.get("/v2/app/manifests/v1").await.bytes().await.unwrap(), first.bytes);
}

#[tokio::test]
async fn a_tag_that_was_deleted_can_be_pushed_anew() {
    let registry = registry().await;
    registry.push_image("app", "v1", b"first").await;
    let deleted = registry.request(Method::DELETE, "/v2/app/manifests/v1").send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    registry.push_image("app", "v1", b"other").await;
}

#[tokio::test]
async fn of_two_first_pushes_at_once_one_is_taken() {
    let registry = registry().await;
    let images: Vec<_> = (0..8).map(|n| format!("layer {n}")).collect();
    let mut pushed = Vec::new();
    registry.push_blob("app", b"{}").await;
    for layer in &images {
        registry.push_blob("app", layer.as_bytes()).await;
        pushed.push(image(layer.as_bytes(), &json!({})));
    }
    let pushes = pushed.iter().map(|manifest| registry.put_manifest("app", "v1", manifest));
    let answers: Vec<StatusCode> =
        futures::future::join_all(pushes).await.iter().map(reqwest::Response::status).collect();
    let taken = answers.iter().filter(|status| **status == StatusCode::CREATED).count();
    assert_eq!(taken, 1, "{answers:?}");
    assert!(answers.iter().all(|status| [StatusCode::CREATED, StatusCode::CONFLICT].contains(status)), "{answers:?}");
}
