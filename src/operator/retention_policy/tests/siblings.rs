//! What the other policies of the Registry count as in use counts, too.

use super::*;

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy", "spec": spec,
        "metadata": {"name": name, "namespace": "shop", "uid": format!("u-{name}"), "generation": 1}})
}

/// The policy that runs, as the API server has it.
fn own(spec: &Value) -> Value {
    let mut own = policy("cleanup", spec);
    own["metadata"]["uid"] = json!("u-1");
    own
}

fn with_in_use(in_use: &Value) -> Value {
    json!({"registryRef": {"name": "main"}, "mode": "Enforce", "inUse": in_use})
}

fn edge(images: &str) -> Answer {
    Answer::ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"images": images}}))
}

const EDGE: &str = "/api/v1/namespaces/shop/configmaps/edge";

fn extra_images() -> Value {
    json!({"extraImagesFrom": [{"configMapRef": {"name": "edge"}}]})
}

#[tokio::test]
async fn what_another_policy_counts_as_in_use_is_kept_from_one_that_asks_nobody() {
    let off = with_in_use(&json!({"protection": "Disabled"}));
    let dry = json!({"registryRef": {"name": "main"}, "mode": "DryRun", "suspend": true, "inUse": extra_images()});
    let elsewhere = json!({"registryRef": {"name": "another"}});
    let listed = [own(&off), policy("dry", &dry), policy("elsewhere", &elsewhere)];
    let registry = obedient_registry().await;
    let world = World::new(registry.client(), &off, move |request| match request.path() {
        POLICIES => Some(Answer::ok(page(&listed, ""))),
        EDGE => Some(edge("app:v1")),
        _ => None,
    });
    world.reconcile().await.unwrap();

    assert_eq!(applications(&registry)[0]["inUse"], json!([{"candidate": 0, "reason": "in use by ConfigMap edge"}]));
    assert_eq!(world.condition("LastRunSucceeded").1, "Completed");
}

#[tokio::test]
async fn source_of_another_policy_that_fails_stops_the_run_and_is_named_with_it() {
    let listed = [own(&enforced()), policy("other", &with_in_use(&extra_images()))];
    let registry = obedient_registry().await;
    let world = World::new(registry.client(), &enforced(), move |request| match request.path() {
        POLICIES => Some(Answer::ok(page(&listed, ""))),
        EDGE => Some(Answer::failure(404, "not found")),
        _ => None,
    });
    world.reconcile().await.unwrap();

    assert_eq!(applications(&registry), Vec::<Value>::new());
    let (status, reason, message) = world.condition("LastRunSucceeded");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "InUseUnknown"));
    assert!(message.contains("RetentionPolicy other") && message.contains("ConfigMap edge"), "{message}");
}

#[tokio::test]
async fn what_comes_to_count_as_in_use_during_the_listing_is_listed_before_the_application() {
    let before = [own(&enforced())];
    let after = [own(&enforced()), policy("late", &with_in_use(&extra_images()))];
    let registry = obedient_registry().await;
    // The policies are read to start the run, to list by, and to apply with: then there is one more.
    let world = World::new(registry.client(), &enforced(), move |request| match request.path() {
        POLICIES if request.earlier() < 2 => Some(Answer::ok(page(&before, ""))),
        POLICIES => Some(Answer::ok(page(&after, ""))),
        EDGE => Some(edge("app:v1")),
        _ => None,
    });
    world.reconcile().await.unwrap();

    let applied = applications(&registry);
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0]["inUse"], json!([{"candidate": 0, "reason": "in use by ConfigMap edge"}]));
    let pods = world.cluster.requests().into_iter().filter(|request| request.path() == "/api/v1/pods").count();
    assert_eq!(pods, 2, "listed again");
}

#[tokio::test]
async fn age_of_the_listing_counts_until_the_registry_is_asked_to_apply() {
    let late = Duration::from_millis(300);
    let listed = own(&enforced());
    let registry = obedient_registry().await;
    let world = World::new(registry.client(), &enforced(), move |request| {
        let answer = Answer::ok(page(std::slice::from_ref(&listed), ""));
        match (request.path(), request.earlier()) {
            // To apply with.
            (POLICIES, 2) => Some(answer.after(late)),
            (POLICIES, _) => Some(answer),
            _ => None,
        }
    });
    world.reconcile().await.unwrap();

    let seconds = applications(&registry)[0]["listingSeconds"].as_f64().unwrap();
    assert!(seconds >= late.as_secs_f64(), "the listing is said to be {seconds} s old");
}

#[tokio::test]
async fn policies_that_cannot_be_read_stop_the_run_in_words_of_their_own() {
    for failing in [1, 2] {
        let listed = own(&enforced());
        let registry = obedient_registry().await;
        let world =
            World::new(registry.client(), &enforced(), move |request| match (request.path(), request.earlier()) {
                (POLICIES, earlier) if earlier == failing => Some(Answer::failure(403, "no list for you")),
                (POLICIES, _) => Some(Answer::ok(page(std::slice::from_ref(&listed), ""))),
                _ => None,
            });
        world.reconcile().await.unwrap();

        assert_eq!(applications(&registry), Vec::<Value>::new());
        let (status, reason, message) = world.condition("LastRunSucceeded");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "PoliciesUnknown"));
        assert!(message.contains("policies") && message.contains("no list for you"), "{message}");
        assert!(!message.contains("in use"), "{message}");
    }
}
