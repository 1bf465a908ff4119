//! A policy's run as the operator asks for it.

use lagan::api::wire::{CandidatePage, RunState, RunStatus};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::registry::{Registry, expect_error};

const RUNS: &str = "/v2/_lagan/retention/runs";

/// Keeps the tag `keep`, and deletes every other.
fn request(run: &str, mode: &str) -> Value {
    let spec = json!({
        "registryRef": { "name": "r" }, "mode": mode, "minimumAge": "0s", "unmatchedTags": "Delete",
        "keep": [{ "name": "kept", "tags": ["keep"], "always": {} }],
        "untagged": { "action": "Delete", "minimumAge": "0s" }, "limits": { "maxDeletePercent": 100 },
    });
    let policy = json!({ "namespace": "team", "name": "p", "uid": "u1", "generation": 1, "spec": spec });
    json!({ "run": run, "policy": "u1", "policies": [policy] })
}

async fn start(registry: &Registry, body: &Value) -> RunStatus {
    let started = registry.request(Method::POST, RUNS).json(body).send().await.unwrap();
    assert_eq!(started.status(), StatusCode::ACCEPTED, "{}", started.text().await.unwrap());
    started.json().await.unwrap()
}

async fn until(registry: &Registry, run: &str, state: RunState) -> RunStatus {
    loop {
        let status: RunStatus = registry.get(&format!("{RUNS}/{run}")).await.json().await.unwrap();
        assert_ne!(status.state, RunState::Failed, "{status:?}");
        if status.state == state {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

async fn pushed() -> Registry {
    let registry = Registry::start().await;
    for tag in ["keep", "v1", "v2", "v3"] {
        registry.push_image("app", tag, tag.as_bytes()).await;
    }
    // What was pushed in the instant of the plan counts as pushed after it.
    registry.clock.pass(1);
    registry
}

#[tokio::test]
async fn a_run_is_planned_paged_applied_and_undone() {
    let registry = pushed().await;
    assert_eq!(start(&registry, &request("u1.1", "Enforce")).await.run, "u1.1");
    until(&registry, "u1.1", RunState::AwaitingUsage).await;
    // Asked again, it is the same run.
    assert_eq!(start(&registry, &request("u1.1", "Enforce")).await.state, RunState::AwaitingUsage);

    let mut tags = Vec::new();
    let mut query = Some("?n=2".to_owned());
    let mut used = None;
    while let Some(here) = query {
        let page: CandidatePage = registry.get(&format!("{RUNS}/u1.1/candidates{here}")).await.json().await.unwrap();
        assert!(page.candidates.len() <= 2);
        query = page.next.map(|next| format!("?n=2&last={next}"));
        for candidate in page.candidates {
            assert!(candidate.closure.contains(&candidate.digest));
            let tag = candidate.tag.map(|tag| tag.to_string()).unwrap_or_default();
            if tag == "v2" {
                used = Some(candidate.index);
            }
            tags.push(tag);
        }
    }
    tags.sort();
    assert_eq!(tags, ["v1", "v2", "v3"]);

    let body = json!({ "listingSeconds": 0.5, "inUse": [{ "candidate": used, "reason": "deployment web" }] });
    let apply = registry.request(Method::POST, &format!("{RUNS}/u1.1/apply")).json(&body).send().await.unwrap();
    assert_eq!(apply.status(), StatusCode::ACCEPTED);
    let done = until(&registry, "u1.1", RunState::Completed).await;
    assert_eq!(done.plan.as_ref().unwrap().protected_in_use, 1);
    assert_eq!(done.result.unwrap().deleted_tags, 2, "{done:?}");
    for tag in ["keep", "v2"] {
        assert_eq!(registry.get(&format!("/v2/app/manifests/{tag}")).await.status(), StatusCode::OK);
    }
    let detail = registry.expect_no_manifest("app", "v1").await.unwrap();
    assert_eq!(detail["policy"], "team/p");
    let body = json!({ "repository": "app", "reference": "v1" });
    registry.request(Method::POST, "/v2/_lagan/restore").json(&body).send().await.unwrap();
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let registry = pushed().await;
    start(&registry, &request("u1.1", "DryRun")).await;
    until(&registry, "u1.1", RunState::AwaitingUsage).await;
    let apply = registry.request(Method::POST, &format!("{RUNS}/u1.1/apply"));
    apply.json(&json!({ "listingSeconds": 0.0, "inUse": [] })).send().await.unwrap();
    let done = until(&registry, "u1.1", RunState::Completed).await;
    assert_eq!(done.plan.unwrap().deletes, 3);
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_apart() {
    let registry = pushed().await;
    for run in ["u1.9", "UPPER", "..%2f"] {
        let unknown = registry.get(&format!("{RUNS}/{run}")).await;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND, "{run}");
    }
    expect_error(registry.get(&format!("{RUNS}/u1.9/candidates")).await, 404, "NOT_FOUND").await;
    expect_error(registry.post(RUNS).await, 400, "UNSUPPORTED").await;
    let mut foreign = request("u1.1", "Enforce");
    foreign["policy"] = json!("another");
    let refused = registry.request(Method::POST, RUNS).json(&foreign).send().await.unwrap();
    expect_error(refused, 400, "UNSUPPORTED").await;
    expect_error(registry.get(RUNS).await, 405, "UNSUPPORTED").await;
}
