//! What no policy is.

use serde_json::{Value, json};

use crate::cli::retention::convert::{System, convert};

use super::{
    arguments,
    ecr::{ecr_rule, tagged},
    harbor::{harbor_policy, harbor_rule},
    zot::zot_config,
};

#[test]
fn wrong_input_is_told_with_its_place() {
    let rule = |change: fn(&mut Value)| {
        let mut rule = harbor_rule("latestPushedK", 2, &[("repoMatches", "**")], &[("matches", "**")]);
        change(&mut rule);
        harbor_policy(&[rule]).to_string()
    };
    let zot = |entry: Value| zot_config(&json!([{"repositories": ["**"], "keepTags": [entry]}])).to_string();
    let ecr = |change: fn(&mut Value)| {
        let mut rule = ecr_rule(1, &tagged("prod*"), "imageCountMoreThan", 1);
        change(&mut rule);
        json!({"rules": [rule]}).to_string()
    };
    for (from, text, words) in [
        (System::Harbor, "rules: no".to_owned(), "no retention policy of Harbor"),
        (
            System::Harbor,
            rule(|rule| rule["template"] = "oldestFirst".into()),
            "rules[0].template: \"oldestFirst\" is not known",
        ),
        (System::Harbor, rule(|rule| rule["params"]["latestPushedK"] = (-1).into()), "rules[0].params.latestPushedK"),
        (System::Harbor, rule(|rule| rule["action"] = "delete".into()), "rules[0].action"),
        (System::Harbor, rule(|rule| rule["disabled"] = true.into()), "none is enabled"),
        (
            System::Harbor,
            rule(|rule| rule["tag_selectors"][0]["kind"] = "label".into()),
            "rules[0].tag_selectors[0].kind",
        ),
        (System::Harbor, rule(|rule| rule["new"] = true.into()), "unknown field `new`"),
        (System::Harbor, rule(|rule| rule["tag_selectors"][0]["pattern"] = "{v".into()), "no glob"),
        (System::Harbor, rule(|_| ()).replace("\"or\"", "\"and\""), "algorithm: \"and\""),
        (System::Harbor, rule(|_| ()).replace("0 30 2 * * *", "30 2 * * *"), "trigger.settings.cron"),
        (
            System::Harbor,
            rule(|rule| rule["scope_selectors"]["repository"][0]["pattern"] = "a{,b}".into()),
            "rules[0].scope_selectors.repository[0]: \"a{,b}\" has an alternative of nothing",
        ),
        (
            System::Zot,
            zot_config(&json!([{"repositories": ["a{b,}"], "keepTags": []}])).to_string(),
            "policies[0].repositories: \"a{b,}\"",
        ),
        (System::Zot, "{]".to_owned(), "neither JSON nor YAML"),
        (System::Zot, "{}".to_owned(), "no storage.retention"),
        (System::Zot, zot_config(&json!([])).to_string(), "there is none"),
        (System::Zot, zot(json!({"patterns": ["v("]})), "policies[0].keepTags[0].patterns[0]"),
        (System::Zot, zot(json!({"pulledWithin": "3 days"})), "policies[0].keepTags[0].pulledWithin"),
        (System::Zot, zot(json!({"pushedBefore": "3h"})), "unknown field `pushedBefore`"),
        (System::Zot, zot(json!({})).replace("1.1.1", "2.0.0"), "distSpecVersion: \"2.0.0\""),
        (System::Ecr, "[]".to_owned(), "no lifecycle policy of ECR"),
        (System::Ecr, "{\"rules\": []}".to_owned(), "there is none"),
        (
            System::Ecr,
            ecr(|rule| rule["selection"]["countType"] = "imagesOlderThan".into()),
            "rules[0].selection.countType",
        ),
        (System::Ecr, ecr(|rule| rule["selection"]["countNumber"] = 0.into()), "rules[0].selection.countNumber"),
        (System::Ecr, ecr(|rule| rule["selection"]["tagStatus"] = "any".into()), "only tagged takes"),
        (System::Ecr, ecr(|rule| rule["action"]["type"] = "delete".into()), "rules[0].action.type"),
        (System::Ecr, ecr(|rule| rule["selection"]["tagPatternList"] = json!(["a/*"])), "\"a/*\" has a character"),
    ] {
        let error = convert(&arguments(from), &text).map(|(yaml, _)| yaml).unwrap_err();
        assert!(error.0.starts_with("policy.json: ") && error.0.contains(words), "{from:?} {text}: {error}");
    }
}
