//! A policy deletes what it should and nothing else, and a hold brings it back.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Image, Namespace, Operator, Policy, Registry, planned_tag_deletions};

const REPOSITORY: &str = "team/app";

/// Nothing is too young, and a small repository is no protection.
pub(crate) const BOLD: &str =
    "minimumAge: 0s, untagged: {action: Delete, minimumAge: 0s}, limits: {maxDeletePercent: 100}";

/// A registry with twelve tags, each an image of its own.
pub(crate) struct TwelveTags {
    pub(crate) registry: Registry,
    images: Vec<(String, Image)>,
}

impl TwelveTags {
    /// Pushes t01 to t12, in this order, and pulls each, so that all are in the registry's memory.
    pub(crate) fn pushed(namespace: &Namespace) -> Self {
        let registry = Registry::applied(namespace, "registry", "");
        let images: Vec<(String, Image)> =
            (1..=12).map(|number| format!("t{number:02}")).map(|tag| (tag.clone(), Image::named(&tag))).collect();
        for (tag, image) in &images {
            registry.address.push(image, &format!("{REPOSITORY}:{tag}"));
        }
        for (tag, image) in &images {
            registry.address.pull_is_identical(image, &format!("{REPOSITORY}:{tag}"));
        }
        Self { registry, images }
    }

    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.images.iter().map(|(tag, _)| tag.as_str()).collect()
    }

    fn image(&self, tag: &str) -> &Image {
        &self.images.iter().find(|(name, _)| name == tag).unwrap().1
    }

    /// Fails unless exactly these tags answer, and the others are gone from every path.
    pub(crate) fn only_these_answer(&self, kept: &BTreeSet<&str>) {
        for (tag, image) in &self.images {
            if kept.contains(tag.as_str()) {
                self.registry.address.pull_is_identical(image, &format!("{REPOSITORY}:{tag}"));
            } else {
                self.is_in_the_trash(tag, image);
            }
        }
        let tags = self.registry.address.tags(REPOSITORY);
        let expected: Vec<&str> = kept.iter().copied().collect();
        assert_eq!(tags, expected);
    }

    /// By tag, by digest, with HEAD: a 404 that says who, why and until when.
    fn is_in_the_trash(&self, tag: &str, image: &Image) {
        for reference in [tag, &image.digest] {
            let path = format!("/v2/{REPOSITORY}/manifests/{reference}");
            assert_eq!(self.registry.address.request("HEAD", &path).status, 404, "HEAD {path}");
            let answer = self.registry.address.get(&path);
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
            let error = answer.json()["errors"][0].clone();
            assert_eq!(error["code"], "MANIFEST_UNKNOWN", "{error:#}");
            let detail = &error["detail"];
            assert!(detail["policy"].as_str().is_some_and(|policy| policy.ends_with("/cleanup")), "{error:#}");
            for key in ["deletedBy", "reason", "deletedAt", "restorableUntil", "tombstone"] {
                assert!(detail[key].as_str().is_some_and(|text| !text.is_empty()), "no {key} in {error:#}");
            }
        }
    }
}

/// A workload that runs nothing and still means its image.
pub(crate) fn scaled_to_zero(namespace: &Namespace, image: &str) {
    namespace.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: idle}}, spec: {{replicas: 0, \
         selector: {{matchLabels: {{app: idle}}}}, template: {{metadata: {{labels: {{app: idle}}}}, \
         spec: {{containers: [{{name: app, image: '{image}'}}]}}}}}}}}"
    ));
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn policy_deletes_exactly_what_it_planned_and_a_hold_brings_one_back() {
    Operator::installed();
    let namespace = Namespace::new("retention");
    let twelve = TwelveTags::pushed(&namespace);
    scaled_to_zero(&namespace, &twelve.registry.address.reference("team/app:t03"));
    let everything = twelve.names();
    let kept = BTreeSet::from(["t03", "t08", "t09", "t10", "t11", "t12"]);

    // Looking changes nothing.
    let keep = "keep: [{name: newest, tags: ['*'], mostRecentlyPushed: 5}]";
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", &format!("{keep}, {BOLD}"));
    let looked = policy.run();
    assert_eq!(looked["lastRun"]["result"], "Completed", "{looked:#}");
    let planned = planned_tag_deletions(&looked);
    let expected: BTreeSet<String> = everything.difference(&kept).map(|tag| format!("{REPOSITORY}:{tag}")).collect();
    assert_eq!(planned, expected);
    assert_eq!(looked["plan"]["protectedInUse"], 1, "{looked:#}");
    assert_eq!(looked["lastRun"]["deletedTags"], 0, "{looked:#}");
    twelve.only_these_answer(&everything);

    // The same for real.
    policy.patch(&json!({"mode": "Enforce"}));
    let ran = policy.run();
    assert_eq!(ran["lastRun"]["result"], "Completed", "{ran:#}");
    assert_eq!(ran["lastRun"]["deletedTags"], 6, "{ran:#}");
    twelve.only_these_answer(&kept);
    its_layers_are_still_there(&twelve, "t01");

    // One line of YAML.
    policy.patch(&json!({"holds": [{"repository": REPOSITORY, "reference": "t01", "reason": "an audit"}]}));
    policy.await_hold("team/app:t01", "Restored");
    let mut with_held = kept;
    with_held.insert("t01");
    twelve.only_these_answer(&with_held);

    // What is held and what was restored stays, however often the policy runs.
    let again = policy.run();
    assert_eq!(again["lastRun"]["deletedTags"], 0, "{again:#}");
    twelve.only_these_answer(&with_held);
}

/// The bytes stay until they are collected: a layer's digest still answers.
fn its_layers_are_still_there(twelve: &TwelveTags, tag: &str) {
    let image = twelve.image(tag);
    for layer in &image.layers {
        let answer = twelve.registry.address.get(&format!("/v2/{REPOSITORY}/blobs/{layer}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, image.blob(layer));
    }
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn plan_over_a_limit_deletes_nothing() {
    Operator::installed();
    let namespace = Namespace::new("limit");
    let twelve = TwelveTags::pushed(&namespace);
    let everything = twelve.names();
    let spec = "mode: Enforce, minimumAge: 0s, keep: [{name: newest, tags: ['*'], mostRecentlyPushed: 5}]";
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", spec);

    let status = policy.run();

    assert_eq!(status["lastRun"]["result"], "LimitExceeded", "{status:#}");
    let message = policy.await_reason("LastRunSucceeded", "False", "LimitExceeded");
    assert!(message.contains("25"), "the message does not name the limit: {message}");
    let told = policy.await_event("LimitExceeded");
    assert!(told.contains("25"), "the Event does not name the limit: {told}");
    assert_eq!(planned_tag_deletions(&status).len(), 7, "{status:#}");
    twelve.only_these_answer(&everything);
}
