//! A hold brings back all of what it names.

use serde_json::{Value, json};

use crate::retention::BOLD;
use crate::support::{Image, Namespace, Operator, Policy, Registry, Signature};

const REPOSITORY: &str = "team/multi";

/// The digests that refer to a manifest, as the registry lists them.
fn referrers(registry: &Registry, digest: &str) -> Vec<Value> {
    let answer = registry.address.get(&format!("/v2/{REPOSITORY}/referrers/{digest}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["manifests"].as_array().unwrap().iter().map(|listed| listed["digest"].clone()).collect()
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn hold_restores_an_index_with_its_images_and_its_signature() {
    Operator::installed();
    let namespace = Namespace::new("held-index");
    let registry = Registry::applied(&namespace, "registry", "");
    let index = Image::index("held");
    registry.address.push(&index, &format!("{REPOSITORY}:v1"));
    let signature = Signature::pushed(&registry, REPOSITORY, &index);
    assert_eq!(referrers(&registry, &index.digest), [json!(signature.digest)]);
    // So that the repository stays.
    registry.address.push(&Image::named("stays"), &format!("{REPOSITORY}:stays"));
    let all: Vec<&String> = index.children.iter().chain([&index.digest, &signature.digest]).collect();
    let get = |digest: &str| registry.address.get(&format!("/v2/{REPOSITORY}/manifests/{digest}"));

    let spec =
        format!("mode: Enforce, unmatchedTags: Delete, keep: [{{name: stays, tags: [stays], always: {{}}}}], {BOLD}");
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", &spec);
    let ran = policy.run();
    assert_eq!(ran["lastRun"]["result"], "Completed", "{ran:#}");
    for digest in &all {
        assert_eq!(get(digest).status, 404, "{digest} is there: {ran:#}");
    }
    assert_eq!(referrers(&registry, &index.digest), Vec::<Value>::new());

    policy.patch(&json!({"holds": [{"repository": REPOSITORY, "reference": "v1", "reason": "an audit"}]}));
    policy.await_hold(&format!("{REPOSITORY}:v1"), "Restored");
    registry.address.pull_is_identical(&index, &format!("{REPOSITORY}:v1"));
    for child in &index.children {
        let answer = get(child);
        assert_eq!((answer.status, answer.body), (200, index.blob(child)), "{child}");
    }
    let answer = get(&signature.digest);
    assert_eq!((answer.status, String::from_utf8(answer.body).unwrap()), (200, signature.content));
    assert_eq!(referrers(&registry, &index.digest), [json!(signature.digest)]);

    // All of it stays, however often the policy runs.
    let again = policy.run();
    assert_eq!((&again["lastRun"]["result"], &again["plan"]["deletes"]), (&json!("Completed"), &json!(0)), "{again:#}");
    assert!(all.iter().all(|digest| get(digest).status == 200), "{again:#}");
}
