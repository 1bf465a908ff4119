//! Collections of garbage, as they are asked for.

use std::time::Duration;

use lagan::api::v1alpha1::CollectionBrake;
use lagan::api::v1alpha1::{AccessMode, GarbageCollectionMode};
use lagan::api::wire::{CollectionState, CollectionStatus};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::registry::{Registry, Setup, expect_error};

const GC: &str = "/v2/_lagan/gc";

pub(crate) async fn begin(registry: &Registry, body: &Value) -> Response {
    registry.request(Method::POST, GC).json(body).send().await.unwrap()
}

/// The last collection, once it is over.
pub(crate) async fn ended(registry: &Registry) -> CollectionStatus {
    loop {
        let status: CollectionStatus = registry.get(GC).await.json().await.unwrap();
        if status.state != CollectionState::Running {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn collection_is_begun_watched_and_remembered() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    expect_error(registry.get(GC).await, 404, "NOT_FOUND").await;
    let begun = begin(&registry, &json!({"dryRun": true})).await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let begun: CollectionStatus = begun.json().await.unwrap();
    let dry = ended(&registry).await;
    assert_eq!((dry.id, dry.dry_run, dry.state), (begun.id, true, CollectionState::Finished));
    // Without a body, it is all by default.
    let begun: CollectionStatus = registry.post(GC).await.json().await.unwrap();
    let halted = ended(&registry).await;
    assert_eq!((halted.id, halted.state, halted.removed.blobs), (begun.id, CollectionState::Halted, 0));
    // The test's clock is not that of the folder.
    assert_eq!(halted.halt.map(|halt| (halt.brake, halt.confirmable)), Some((CollectionBrake::ClockSkew, false)));
    assert_eq!(registry.get("/v2/app/manifests/v1").await.bytes().await.unwrap(), manifest.bytes);
    let version: Value = registry.get("/v2/_lagan/").await.json().await.unwrap();
    assert!(version["capabilities"].as_array().unwrap().contains(&json!("gc")));
}

#[tokio::test]
async fn collection_that_a_brake_stopped_is_confirmed_by_its_report_and_once() {
    let registry = Registry::start().await;
    registry.push_image("app", "v1", b"cargo").await;
    let folder = registry.stop().await;
    // What is left is what another registry would have written.
    std::fs::remove_dir_all(folder.path().join("lagan")).unwrap();
    let registry = Registry::on(folder, Setup::default()).await;
    registry.post(GC).await;
    let halted = ended(&registry).await;
    let brake = |status: &CollectionStatus| status.halt.as_ref().map(|halt| (halt.brake, halt.confirmable));
    assert_eq!((halted.state, brake(&halted)), (CollectionState::Halted, Some((CollectionBrake::NotConfirmed, true))));
    for confirm in ["01J00000000000000000000000", ""] {
        expect_error(begin(&registry, &json!({"confirm": confirm})).await, 400, "UNSUPPORTED").await;
    }
    assert_eq!(begin(&registry, &json!({"confirm": halted.id})).await.status(), StatusCode::ACCEPTED);
    let young = ended(&registry).await;
    assert_eq!(brake(&young), Some((CollectionBrake::TooYoung, false)));
    assert_eq!(young.confirmed_by.as_deref(), Some("anonymous"));
    for confirm in [&halted.id, &young.id] {
        expect_error(begin(&registry, &json!({"confirm": confirm})).await, 400, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn request_that_makes_no_sense_begins_nothing() {
    let registry = Registry::start().await;
    for body in [json!({"dryrun": true}), json!({"dryRun": "yes"}), json!({"confirm": 1}), json!([])] {
        expect_error(begin(&registry, &body).await, 400, "UNSUPPORTED").await;
    }
    expect_error(registry.delete(GC).await, 405, "UNSUPPORTED").await;
    expect_error(registry.get(GC).await, 404, "NOT_FOUND").await;
}

#[tokio::test]
async fn nothing_is_collected_where_that_is_disabled_or_nothing_may_change() {
    let disabled = Setup { garbage_collection: GarbageCollectionMode::Disabled, ..Setup::default() };
    let read_only = Setup { access_mode: AccessMode::ReadOnly, ..Setup::default() };
    for setup in [disabled, read_only] {
        let registry = Registry::with(setup).await;
        expect_error(registry.post(GC).await, 405, "UNSUPPORTED").await;
        expect_error(registry.get(GC).await, 404, "NOT_FOUND").await;
        // What would go may be asked for.
        assert_eq!(begin(&registry, &json!({"dryRun": true})).await.status(), StatusCode::ACCEPTED);
        assert_eq!(ended(&registry).await.state, CollectionState::Finished);
    }
}
