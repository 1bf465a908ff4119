//! Harbor.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::v1alpha1::RetentionPolicy;
use crate::cli::retention::convert::{System, convert};

use super::{ALL_KINDS, Image, SEVERAL_TAGS, Stays, arguments, compare, glob, image, kept, newest, tags, translated};

/// Harbor: the launcher collects the rules of each repository; their retained artifacts stay, and all others go. A selector
/// selects an artifact of which it selects a tag (`selectors/doublestar`); its times are the latest of its own and its
/// tags' (`retention/dep`).
fn harbor(policy: &Value, repository: &str, images: &[Image]) -> BTreeSet<String> {
    const NEVER: i64 = 1_000_000;
    let Some(name) = repository.strip_prefix("library/") else { return tags(images) };
    let rules: Vec<&Value> = policy["rules"].as_array().unwrap().iter().collect();
    let selects = |selector: &Value, text: &str, yes: &str| {
        glob(selector["pattern"].as_str().unwrap(), text) == (selector["decoration"] == yes)
    };
    let of_repository: Vec<&&Value> = rules
        .iter()
        .filter(|rule| rule["disabled"] != true)
        .filter(|rule| {
            let selectors = rule["scope_selectors"]["repository"].as_array().unwrap();
            selectors.iter().all(|selector| selects(selector, name, "repoMatches"))
        })
        .collect();
    if of_repository.is_empty() {
        return tags(images);
    }
    let mut retained = BTreeSet::new();
    for rule in of_repository {
        let selectors = rule["tag_selectors"].as_array().unwrap();
        let selected: Vec<&Image> =
            images.iter().filter(|i| selectors.iter().all(|s| i.has_a_tag(|tag| selects(s, tag, "matches")))).collect();
        let template = rule["template"].as_str().unwrap();
        let number = rule["params"][template].as_u64().unwrap_or(10);
        let hours = i64::try_from(number).unwrap() * 24;
        let pulled = |image: &Image| image.pulled.unwrap_or(NEVER);
        let active = |image: &Image| pulled(image).min(image.pushed);
        let stay: Vec<&Image> = match template {
            "always" => selected,
            "latestPushedK" => newest(selected, number, |image| image.pushed),
            "latestPulledN" => newest(selected, number, pulled),
            "latestActiveK" => newest(selected, number, active),
            "nDaysSinceLastPush" | "lastXDays" => selected.into_iter().filter(|image| image.pushed <= hours).collect(),
            "nDaysSinceLastPull" => selected.into_iter().filter(|image| pulled(image) <= hours).collect(),
            other => panic!("{other}"),
        };
        retained.extend(stay.into_iter().flat_map(|image| image.tags.clone()));
    }
    retained
}

pub(super) fn harbor_rule(template: &str, number: u64, repositories: &[(&str, &str)], tags: &[(&str, &str)]) -> Value {
    let selectors = |all: &[(&str, &str)]| -> Value {
        all.iter()
            .map(|(decoration, pattern)| json!({"kind": "doublestar", "decoration": decoration, "pattern": pattern, "extras": "{\"untagged\":false}"}))
            .collect()
    };
    let mut params = serde_json::Map::new();
    if template != "always" {
        params.insert(template.to_owned(), number.into());
    }
    json!({"id": 1, "priority": 1, "disabled": false, "action": "retain", "template": template, "params": params,
        "scope_selectors": {"repository": selectors(repositories)}, "tag_selectors": selectors(tags)})
}

/// A policy as Harbor's API has it.
pub(super) fn harbor_policy(rules: &[Value]) -> Value {
    json!({"id": 3, "algorithm": "or", "rules": rules, "scope": {"level": "project", "ref": 7},
        "trigger": {"kind": "Schedule", "settings": {"cron": "0 30 2 * * *"}, "references": {"job_id": 5}}})
}

#[test]
fn policies_of_harbor_decide_as_harbor_does() {
    let all: &[(&str, &str)] = &[("repoMatches", "**")];
    let every: &[(&str, &str)] = &[("matches", "**")];
    for rules in [
        vec![harbor_rule("latestPushedK", 3, all, every)],
        vec![harbor_rule("latestActiveK", 3, all, every)],
        vec![harbor_rule("nDaysSinceLastPush", 20, all, every)],
        vec![harbor_rule("lastXDays", 20, all, every)],
        vec![harbor_rule("always", 0, all, &[("matches", "v*")])],
        vec![harbor_rule("latestPushedK", 0, all, every)],
        vec![
            harbor_rule("latestPushedK", 2, all, &[("matches", "{v*,prod-*}")]),
            harbor_rule("always", 0, all, &[("matches", "latest")]),
        ],
        // One rule about tags that another one does not name.
        vec![
            harbor_rule("latestPushedK", 2, all, &[("excludes", "{v*,latest}")]),
            harbor_rule("always", 0, all, &[("matches", "v*")]),
        ],
        // Scopes that overlap, and one that excludes.
        vec![
            harbor_rule("latestPushedK", 2, &[("repoMatches", "infra/**")], every),
            harbor_rule("nDaysSinceLastPush", 9, all, &[("matches", "v*")]),
        ],
        vec![harbor_rule("latestPushedK", 2, &[("repoExcludes", "infra/**")], every)],
        vec![harbor_rule("latestPushedK", 2, &[("repoMatches", "{app,web}")], every)],
    ] {
        compare(System::Harbor, &harbor_policy(&rules), Stays::Same, ALL_KINDS, harbor);
    }
    let rule = harbor_rule("nDaysSinceLastPull", 20, all, every);
    compare(System::Harbor, &harbor_policy(&[rule]), Stays::Same, SEVERAL_TAGS, harbor);
}

#[test]
fn an_image_of_harbor_stays_with_all_of_its_tags() {
    let rule = harbor_rule("always", 0, &[("repoMatches", "**")], &[("matches", "release-*")]);
    let (policies, _) = translated(System::Harbor, &harbor_policy(&[rule]).to_string());
    let images = [image(&["release-1", "latest", "stable"], 900, None), image(&["dev"], 9, None)];
    assert_eq!(kept(&policies, "library/app", &images), tags(&images[..1]));
}

#[test]
fn new_images_that_nobody_pulled_push_no_pulled_ones_out_of_harbors_last_pulled() {
    let rule = harbor_rule("latestPulledN", 2, &[("repoMatches", "**")], &[("matches", "**")]);
    let policy = harbor_policy(&[rule]);
    let (policies, remarks) = translated(System::Harbor, &policy.to_string());
    let images = [("a", 50, Some(40)), ("b", 30, Some(20)), ("c", 10, None), ("d", 5, None)];
    let images = images.map(|(tag, pushed, pulled)| image(&[tag], pushed, pulled));
    assert!(kept(&policies, "library/app", &images).is_superset(&tags(&images[..2])));
    compare(System::Harbor, &policy, Stays::More, ALL_KINDS, harbor);
    assert!(remarks.iter().any(|remark| remark.contains("all of the rule's tags stay")), "{remarks:#?}");
}

#[test]
fn what_harbor_says_of_images_that_nobody_pulled_is_told() {
    let rule = harbor_rule("nDaysSinceLastPull", 20, &[("repoMatches", "**")], &[("matches", "**")]);
    let policy = harbor_policy(&[rule]);
    compare(System::Harbor, &policy, Stays::More, ALL_KINDS, harbor);
    let (_, remarks) = translated(System::Harbor, &policy.to_string());
    assert!(remarks.iter().any(|remark| remark.contains("never pulled")), "{remarks:#?}");
}

#[test]
fn harbors_tags_that_cannot_be_told_stay() {
    let rule = |template: &str| harbor_rule(template, 3, &[("repoMatches", "**")], &[("excludes", "v?.0")]);
    // The reference has no question marks: a pattern that no tag here matches.
    let (policies, remarks) = translated(System::Harbor, &harbor_policy(&[rule("latestPushedK")]).to_string());
    let images: Vec<Image> = (1..9).map(|n| image(&[&format!("pr-{n}")], n, None)).collect();
    assert_eq!(kept(&policies, "library/app", &images), tags(&images));
    assert!(remarks.iter().any(|remark| remark.contains("all tags stay")), "{remarks:#?}");
    let (policies, _) = translated(System::Harbor, &harbor_policy(&[rule("nDaysSinceLastPush")]).to_string());
    assert!(kept(&policies, "library/app", &[image(&["v1.0"], 24, None), image(&["old"], 99, None)]).contains("v1.0"));
}

#[test]
fn harbors_images_without_a_tag_go_unless_a_rule_retains_them() {
    for (template, decoration, extras, expected, remarks_it) in [
        ("always", "matches", "{\"untagged\":false}", "Delete 0s", false),
        ("always", "matches", "{\"untagged\":true}", "Keep", true),
        ("always", "matches", "", "Keep", true),
        ("latestPushedK", "matches", "{\"untagged\":true}", "Keep", true),
        ("latestPulledN", "matches", "{\"untagged\":true}", "Keep", true),
        ("nDaysSinceLastPush", "matches", "{\"untagged\":true}", "Delete 720h", true),
        // What excludes all tags is about images without one.
        ("always", "excludes", "{\"untagged\":false}", "Keep", true),
        ("always", "excludes", "{\"untagged\":true}", "Delete 0s", false),
    ] {
        let mut rule = harbor_rule(template, 30, &[("repoMatches", "**")], &[(decoration, "**")]);
        rule["tag_selectors"][0]["extras"] = extras.into();
        let (yaml, remarks) = convert(&arguments(System::Harbor), &harbor_policy(&[rule]).to_string()).unwrap();
        let object = RetentionPolicy::deserialize(serde_yaml::Deserializer::from_str(&yaml)).unwrap();
        let untagged = serde_json::to_value(&object.spec.untagged).unwrap();
        let (action, age) = (untagged["action"].as_str().unwrap(), untagged["minimumAge"].as_str().unwrap());
        let said = if action == "Keep" { action.to_owned() } else { format!("{action} {age}") };
        assert_eq!(said, expected, "{template} {decoration} {extras}");
        assert_eq!(remarks.iter().any(|remark| remark.text.contains("without a tag")), remarks_it, "{remarks:#?}");
    }
}

#[test]
fn harbors_patterns_with_an_alternative_of_nothing_keep_more() {
    let rule = harbor_rule("latestPushedK", 1, &[("repoMatches", "**")], &[("matches", "v1{,-rc}")]);
    let (policies, remarks) = translated(System::Harbor, &harbor_policy(&[rule]).to_string());
    let images = [image(&["v1"], 9, None), image(&["dev"], 5, None)];
    assert_eq!(kept(&policies, "library/app", &images), tags(&images));
    assert!(remarks.iter().any(|remark| remark.contains("all tags stay")), "{remarks:#?}");
}

#[test]
fn harbors_schedule_loses_its_seconds() {
    let rule = harbor_rule("always", 0, &[("repoMatches", "**")], &[("matches", "**")]);
    for (cron, schedule, suspend) in
        [("0 30 2 * * *", "30 2 * * *", false), ("0 0 0 ? * 1", "0 0 * * 1", false), ("", "0 3 * * *", true)]
    {
        let mut policy = harbor_policy(std::slice::from_ref(&rule));
        policy["trigger"]["settings"]["cron"] = cron.into();
        let (yaml, _) = convert(&arguments(System::Harbor), &policy.to_string()).unwrap();
        let object = RetentionPolicy::deserialize(serde_yaml::Deserializer::from_str(&yaml)).unwrap();
        assert_eq!((object.spec.schedule.as_str(), object.spec.suspend), (schedule, suspend), "{cron:?}");
    }
}
