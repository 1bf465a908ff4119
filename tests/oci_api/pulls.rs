//! What is noted of pulls.

use jiff::Timestamp;
use lagan::oci::{Reference, RepositoryName};
use reqwest::StatusCode;

use crate::registry::Registry;

async fn pulled_at(registry: &Registry, reference: &str) -> Option<Timestamp> {
    let (name, reference): (RepositoryName, Reference) = ("app".parse().unwrap(), reference.parse().unwrap());
    registry.catalog.pull_history().await.unwrap().pulled_at(&name, &reference)
}

#[tokio::test]
async fn a_get_is_a_pull_by_tag_or_digest_and_a_head_is_none() {
    let registry = Registry::start().await;
    let image = registry.push_image("app", "v1", b"cargo").await;
    let digest = image.digest.to_string();
    for reference in ["v1", &digest] {
        registry.head(&format!("/v2/app/manifests/{reference}")).await;
        assert_eq!(pulled_at(&registry, reference).await, None);
    }
    registry.get("/v2/app/manifests/v1").await;
    let first = pulled_at(&registry, "v1").await;
    assert!(first.is_some());
    assert_eq!(pulled_at(&registry, &digest).await, None, "the tag was pulled");
    registry.clock.pass(60);
    registry.get(&format!("/v2/app/manifests/{digest}")).await;
    assert_eq!(pulled_at(&registry, "v1").await, first);
    assert!(pulled_at(&registry, &digest).await > first);
}

#[tokio::test]
async fn who_has_it_already_pulls_it_and_what_is_not_there_is_not_pulled() {
    let registry = Registry::start().await;
    let image = registry.push_image("app", "v1", b"cargo").await;
    let held = registry.request(reqwest::Method::GET, "/v2/app/manifests/v1");
    let held = held.header("if-none-match", format!("\"{}\"", image.digest)).send().await.unwrap();
    assert_eq!(held.status(), StatusCode::NOT_MODIFIED);
    assert!(pulled_at(&registry, "v1").await.is_some());
    assert_eq!(registry.get("/v2/app/manifests/v2").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(pulled_at(&registry, "v2").await, None);
}
