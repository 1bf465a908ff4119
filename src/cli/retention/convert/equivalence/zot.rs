//! zot.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::retention::convert::{System, duration::go_seconds};

use super::{ALL_KINDS, Image, PLAIN, Stays, UNPULLED, compare, glob, image, kept, newest, tags, translated};

/// zot: the first policy for a repository, of that the first entry for a tag, each entry with the tags that are its own. The
/// times of a tag are those of its image (`retention/candidate.go`).
fn zot(config: &Value, repository: &str, images: &[Image]) -> BTreeSet<String> {
    let policies = config["storage"]["retention"]["policies"].as_array().unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let matches = |pattern: &String| {
        glob(pattern, repository) || pattern.strip_suffix("/**").is_some_and(|itself| glob(itself, repository))
    };
    let Some(policy) = policies.iter().find(|policy| texts(&policy["repositories"]).iter().any(matches)) else {
        return tags(images);
    };
    let entries: Vec<&Value> = policy["keepTags"].as_array().into_iter().flatten().collect();
    if entries.is_empty() {
        return tags(images);
    }
    let compiled: Vec<Vec<regex::Regex>> = entries
        .iter()
        .map(|entry| texts(&entry["patterns"]).iter().map(|pattern| regex::Regex::new(pattern).unwrap()).collect())
        .collect();
    let is_of = |tag: &str, patterns: &[regex::Regex]| {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.is_match(tag))
    };
    // Each tag is a candidate, as old as its image.
    let candidates: Vec<Image> =
        images.iter().flat_map(|one| one.tags.iter().map(|tag| image(&[tag], one.pushed, one.pulled))).collect();
    let mut stay = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let own: Vec<&Image> = candidates
            .iter()
            .filter(|one| compiled.iter().position(|patterns| is_of(&one.tags[0], patterns)) == Some(at))
            .collect();
        let hours =
            |field: &str| entry[field].as_str().map(|text| i64::try_from(go_seconds(text).unwrap() / 3600).unwrap());
        let count = |field: &str| entry[field].as_u64();
        let pulled = |image: &Image| image.pulled.unwrap_or(1_000_000);
        let filtered = |holds: &dyn Fn(&Image) -> bool| own.iter().copied().filter(|image| holds(image)).collect();
        let rules: Vec<Option<Vec<&Image>>> = vec![
            count("mostRecentlyPushedCount").map(|count| newest(own.clone(), count, |image| image.pushed)),
            count("mostRecentlyPulledCount").map(|count| newest(own.clone(), count, pulled)),
            hours("pulledWithin").map(|hours| filtered(&|image| pulled(image) < hours || image.pushed < hours)),
            hours("pushedWithin").map(|hours| filtered(&|image| image.pushed < hours)),
        ];
        let is_ruled = rules.iter().any(Option::is_some);
        let kept: Vec<&Image> = if is_ruled { rules.into_iter().flatten().flatten().collect() } else { own.clone() };
        stay.extend(kept.into_iter().flat_map(|image| image.tags.clone()));
    }
    stay
}

pub(super) fn zot_config(policies: &Value) -> Value {
    json!({"distSpecVersion": "1.1.1", "storage": {"rootDirectory": "/var/lib/zot", "gc": true,
        "retention": {"dryRun": false, "delay": "24h", "policies": policies}}})
}

#[test]
fn policies_of_zot_decide_as_zot_does() {
    for policies in [
        // As zot's article has it, but for the count of pulls: settings for some, and a default for the others.
        json!([
            {"repositories": ["infra/*", "tmp/**"], "deleteReferrers": false, "deleteUntagged": true, "keepTags": [
                {"patterns": ["v2.*", ".*-prod"], "mostRecentlyPushedCount": 3,
                    "pulledWithin": "170h", "pushedWithin": "170h"}]},
            {"repositories": ["**"], "deleteReferrers": true, "deleteUntagged": true, "keepTags": [
                {"mostRecentlyPushedCount": 4, "pulledWithin": "121h", "pushedWithin": "121h"}]},
        ]),
        // What one entry keeps, another one that is for all others does not decide.
        json!([{"repositories": ["**"], "keepTags": [{"patterns": ["v2.*", ".*-prod"]}, {"pulledWithin": "170h"}]}]),
        json!([{"repositories": ["**"], "keepTags": [
            {"patterns": ["^v1\\.", "^v2"], "mostRecentlyPushedCount": 1}, {"patterns": ["^pr-", "^prod"], "mostRecentlyPushedCount": 2}]}]),
        // Without keepTags all tags stay; the second policy is not for what the first one is for.
        json!([{"repositories": ["infra/**"]}, {"repositories": ["infra/web", "library/**"], "keepTags": [{"patterns": ["^v"]}]}]),
    ] {
        compare(System::Zot, &zot_config(&policies), Stays::Same, PLAIN, zot);
        compare(System::Zot, &zot_config(&policies), Stays::Same, UNPULLED, zot);
        compare(System::Zot, &zot_config(&policies), Stays::More, ALL_KINDS, zot);
    }
}

#[test]
fn all_of_an_entry_stays_where_zot_counts_pulls() {
    let entry = json!({"patterns": ["^v", "^p"], "mostRecentlyPushedCount": 2, "mostRecentlyPulledCount": 2});
    let config = zot_config(&json!([{"repositories": ["**"], "keepTags": [entry]}]));
    compare(System::Zot, &config, Stays::More, PLAIN, zot);
    compare(System::Zot, &config, Stays::More, ALL_KINDS, zot);
    let (_, remarks) = translated(System::Zot, &config.to_string());
    assert!(remarks.iter().any(|remark| remark.contains("all of the rule's tags stay")), "{remarks:#?}");
}

#[test]
fn zots_entries_that_cannot_be_told_apart_keep_more_and_say_so() {
    for (entries, words) in [
        (json!([{"patterns": ["v"], "pushedWithin": "49h"}, {"pulledWithin": "490h"}]), "stays if either keeps it"),
        (json!([{"patterns": ["v"]}, {"mostRecentlyPushedCount": 2}]), "all of its tags stay"),
    ] {
        let config = zot_config(&json!([{"repositories": ["**"], "keepTags": entries}]));
        compare(System::Zot, &config, Stays::More, PLAIN, zot);
        compare(System::Zot, &config, Stays::More, ALL_KINDS, zot);
        let (_, remarks) = translated(System::Zot, &config.to_string());
        assert!(remarks.iter().any(|remark| remark.contains(words)), "{remarks:#?}");
    }
}

#[test]
fn zots_configuration_is_read_in_yaml_and_in_parts() {
    let yaml =
        "storage:\n  retention:\n    policies:\n    - repositories: ['**']\n      keepTags: [{patterns: ['^v']}]\n";
    let (whole, _) = translated(System::Zot, yaml);
    let part = json!({"policies": [{"repositories": ["**"], "keepTags": [{"patterns": ["^v"]}]}]});
    let (part, _) = translated(System::Zot, &part.to_string());
    let images = [image(&["v1"], 2, None), image(&["dev"], 2, None)];
    assert_eq!(kept(&whole, "app", &images), BTreeSet::from(["v1".to_owned()]));
    assert_eq!(kept(&part, "app", &images), BTreeSet::from(["v1".to_owned()]));
}

#[test]
fn zots_policy_that_deletes_nothing_is_left_out_and_its_repositories_are_nobody_elses() {
    let config = zot_config(&json!([
        {"repositories": ["infra/**"], "deleteUntagged": false},
        {"repositories": ["**"], "keepTags": [{"patterns": ["^v"]}]},
    ]));
    let (policies, remarks) = translated(System::Zot, &config.to_string());
    let images = [image(&["v1"], 2, None), image(&["dev"], 2, None)];
    assert_eq!(kept(&policies, "app", &images), BTreeSet::from(["v1".to_owned()]));
    assert_eq!(kept(&policies, "infra/web", &images), BTreeSet::from(["dev".to_owned(), "v1".to_owned()]));
    assert!(remarks.iter().any(|remark| remark.contains("policies[0]: it deletes nothing")), "{remarks:#?}");
}
