use reqwest::StatusCode;
use serde_json::Value;

use crate::registry::{Registry, expect_error};

async fn history(registry: &Registry, query: &str) -> Value {
    let response = registry.get(&format!("/v2/_lagan/history?{query}")).await;
    assert_eq!(response.status(), StatusCode::OK, "{}", response.text().await.unwrap());
    response.json().await.unwrap()
}

fn digests(page: &Value) -> Vec<String> {
    let entries = page["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_tags_history_is_told_newest_first_and_outlives_the_tag() {
    let registry = Registry::start().await;
    let mut pushed = Vec::new();
    for layer in [&b"one"[..], b"two", b"three"] {
        pushed.push(registry.push_image("team/app", "latest", layer).await.digest.to_string());
        registry.clock.pass(60);
    }
    registry.push_image("team/app", "other", b"four").await;
    pushed.reverse();
    let all = history(&registry, "repository=team/app&tag=latest").await;
    assert_eq!(digests(&all), pushed);
    assert_eq!(all["entries"][0]["pushedAt"], "2026-06-01T12:02:00Z");
    assert_eq!(all["entries"][0]["actor"], "anonymous");
    assert_eq!(all["entries"][0]["restored"], false);
    assert!(all["next"].is_null());

    registry.delete("/v2/team/app/manifests/latest").await;
    registry.expect_no_manifest("team/app", "latest").await;
    assert_eq!(digests(&history(&registry, "repository=team/app&tag=latest").await), pushed);
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    let registry = Registry::start().await;
    let mut pushed = Vec::new();
    for number in 0..5 {
        pushed.push(registry.push_image("app", "v1", format!("{number}").as_bytes()).await.digest.to_string());
        registry.clock.pass(1);
    }
    pushed.reverse();
    let (mut seen, mut last) = (Vec::new(), String::new());
    loop {
        let page = history(&registry, &format!("repository=app&tag=v1&n=2{last}")).await;
        seen.extend(digests(&page));
        let Some(next) = page["next"].as_str() else { break };
        last = format!("&last={next}");
    }
    assert_eq!(seen, pushed);
}

#[tokio::test]
async fn what_another_registry_pushed_is_told_by_its_index() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    std::fs::remove_dir_all(registry.folder.path().join("lagan/v1/facts")).unwrap();
    let told = history(&registry, "repository=app&tag=v1").await;
    assert_eq!(digests(&told), [manifest.digest.to_string()]);
    assert!(told["entries"][0]["actor"].is_null());
}

#[tokio::test]
async fn a_history_that_never_was_is_unknown() {
    let registry = Registry::start().await;
    registry.push_image("app", "v1", b"cargo").await;
    let get = |query: &'static str| registry.get(query);
    expect_error(get("/v2/_lagan/history?repository=app&tag=v2").await, 404, "MANIFEST_UNKNOWN").await;
    expect_error(get("/v2/_lagan/history?repository=nowhere&tag=v1").await, 404, "MANIFEST_UNKNOWN").await;
    expect_error(get("/v2/_lagan/history?repository=UP&tag=v1").await, 400, "NAME_INVALID").await;
    for query in ["", "?tag=v1", "?repository=app", "?repository=app&tag=.x", "?repository=app&tag=v1&last=x"] {
        expect_error(registry.get(&format!("/v2/_lagan/history{query}")).await, 400, "UNSUPPORTED").await;
    }
}
