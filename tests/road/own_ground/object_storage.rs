//! Replicas of a Registry on a bucket, and what clients see when one of them dies.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Image, Namespace, ObjectStore, Operator, Policy, Registry, eventually, eventually_within};

/// Longer than a replica that died is waited for, and than a node takes to start another one.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);

/// So many requests to the Service reach every replica, but for one chance in hundreds.
const ENOUGH: usize = 20;

fn everywhere(registry: &Registry, path: &str, status: u16) {
    for _ in 0..ENOUGH {
        let answer = registry.address.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn replicas_on_a_bucket_outlive_one_of_them_and_agree_on_what_is_deleted() {
    Operator::installed();
    let store = ObjectStore::started();
    let namespace = Namespace::new("bucket");
    let spec = format!("replicas: 3, {}", store.storage(&namespace));
    let registry = Registry::applied(&namespace, "registry", &spec);
    let status = namespace.get("registry/registry")["status"].clone();
    assert_eq!(status["readyReplicas"], 3, "{status:#}");
    namespace.await_reason("registry/registry", "StorageReady", "True", "Reachable");
    assert_eq!(namespace.get("poddisruptionbudget/registry")["spec"]["maxUnavailable"], 1);

    let images: Vec<Image> = (1..=4).map(|number| Image::named(&format!("bucket-{number}"))).collect();
    for (image, tag) in images.iter().zip(["v1", "v2", "pr-1", "pr-2"]) {
        registry.address.push(image, &format!("team/app:{tag}"));
    }
    for (image, tag) in images.iter().zip(["v1", "v2", "pr-1", "pr-2"]) {
        registry.address.pull_is_identical(image, &format!("team/app:{tag}"));
        everywhere(&registry, &format!("/v2/team/app/manifests/{tag}"), 200);
    }

    registry.address.delete("team/app:v2");
    everywhere(&registry, &format!("/v2/team/app/manifests/{}", images[1].digest), 404);

    // One dies without a word. Pushes and pulls go on at once, a delete as soon as it is certainly gone.
    let victim = registry.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    namespace.run(&format!("delete pod {victim} --force --grace-period=0"));
    let late = Image::named("bucket-late");
    eventually("a push goes on", || {
        let output = registry.address.try_push(&late, "team/app:late");
        if output.is_success() { Ok(()) } else { Err(output.to_string()) }
    });
    registry.address.pull_is_identical(&images[0], "team/app:v1");
    eventually_within(PATIENCE, "a delete goes on", || {
        let path = format!("/v2/team/app/manifests/{}", late.digest);
        let answer = registry.address.try_request("DELETE", &path)?;
        if [202, 404].contains(&answer.status) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    eventually_within(PATIENCE, "three replicas answer again", || {
        let status = namespace.try_get("registry/registry")?["status"].clone();
        if status["readyReplicas"] == 3 { Ok(()) } else { Err(format!("{status:#}")) }
    });
    everywhere(&registry, "/v2/team/app/manifests/late", 404);

    policy_runs_on_all_of_them(&namespace, &registry, &images);
}

fn policy_runs_on_all_of_them(namespace: &Namespace, registry: &Registry, images: &[Image]) {
    let spec = "mode: Enforce, keep: [{name: releases, tags: ['v*'], always: {}}], unmatchedTags: Delete, \
                minimumAge: 0s, untagged: {action: Delete, minimumAge: 0s}, limits: {maxDeletePercent: 100}";
    let mut policy = Policy::applied(namespace, "cleanup", "registry", spec);
    let ran = policy.run();
    assert_eq!(ran["lastRun"]["result"], "Completed", "{ran:#}");
    assert_eq!(ran["lastRun"]["deletedTags"], 2, "{ran:#}");
    for tag in ["pr-1", "pr-2"] {
        everywhere(registry, &format!("/v2/team/app/manifests/{tag}"), 404);
    }
    let hold = json!({"repository": "team/app", "reference": "pr-1", "reason": "somebody needs it"});
    policy.patch(&json!({"holds": [hold]}));
    policy.await_hold("team/app:pr-1", "Restored");
    everywhere(registry, "/v2/team/app/manifests/pr-1", 200);
    registry.address.pull_is_identical(&images[2], "team/app:pr-1");
    let tags: BTreeSet<String> = registry.address.tags("team/app").into_iter().collect();
    assert_eq!(tags, BTreeSet::from(["v1".to_owned(), "pr-1".to_owned()]));
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn credentials_that_the_store_refuses_are_said_and_mend_when_the_secret_does() {
    Operator::installed();
    let store = ObjectStore::started();
    let namespace = Namespace::new("refused-keys");
    let spec = store.storage(&namespace);
    let right = namespace.secret("bucket", "AWS_SECRET_ACCESS_KEY");
    ObjectStore::apply_secret(&namespace, "wrong");
    namespace.apply(&Registry::yaml("registry", &spec));
    namespace.await_reason("registry/registry", "StorageReady", "False", "CredentialsInvalid");

    ObjectStore::apply_secret(&namespace, &right);
    let registry = Registry::ready(&namespace, "registry");
    namespace.await_reason("registry/registry", "StorageReady", "True", "Reachable");
    let image = Image::named("mended");
    registry.address.push(&image, "team/app:v1");
    registry.address.pull_is_identical(&image, "team/app:v1");
}
