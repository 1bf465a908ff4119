//! Amazon ECR.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::retention::convert::{Arguments, System, convert};

use super::{ALL_KINDS, Image, Stays, UNPULLED, arguments, compare, glob, image, kept, newest, tags, translated};

/// ECR: by priority, the first rule whose tags match an image may take it, with all of its tags; each counts all that it
/// matches, which has a tag for each pattern.
fn ecr(policy: &Value, _: &str, images: &[Image]) -> BTreeSet<String> {
    let mut rules: Vec<&Value> = policy["rules"].as_array().unwrap().iter().collect();
    rules.sort_by_key(|rule| rule["rulePriority"].as_u64());
    let matches = |image: &Image, rule: &Value| {
        let selection = &rule["selection"];
        let all = |key: &str, suffix: &str| {
            let list = selection[key].as_array().cloned().unwrap_or_default();
            let pattern = |pattern: &Value| format!("{}{suffix}", pattern.as_str().unwrap());
            list.iter().map(pattern).all(|pattern| image.has_a_tag(|tag| glob(&pattern, tag)))
        };
        selection["tagStatus"] == "any"
            || selection["tagStatus"] == "tagged" && all("tagPatternList", "") && all("tagPrefixList", "*")
    };
    let mut stay = tags(images);
    for image in images {
        let Some(rule) = rules.iter().find(|rule| matches(image, rule)) else { continue };
        let number = rule["selection"]["countNumber"].as_u64().unwrap();
        let hours = i64::try_from(number).unwrap() * 24;
        let expires = match rule["selection"]["countType"].as_str().unwrap() {
            "imageCountMoreThan" => {
                let all: Vec<&Image> = images.iter().filter(|image| matches(image, rule)).collect();
                !newest(all, number, |image| image.pushed).iter().any(|newer| newer.tags == image.tags)
            }
            "sinceImagePushed" => image.pushed > hours,
            "sinceImagePulled" => image.pulled.unwrap_or(image.pushed) > hours,
            other => panic!("{other}"),
        };
        if expires && rule["action"]["type"] == "expire" {
            for tag in &image.tags {
                stay.remove(tag);
            }
        }
    }
    stay
}

pub(super) fn ecr_rule(priority: u64, tags: &Value, count: &str, number: u64) -> Value {
    let mut selection = json!({"countType": count, "countNumber": number});
    let fields = selection.as_object_mut().unwrap();
    fields.extend(tags.as_object().unwrap().clone());
    if count != "imageCountMoreThan" {
        fields.insert("countUnit".to_owned(), "days".into());
    }
    json!({"rulePriority": priority, "description": "some", "selection": selection, "action": {"type": "expire"}})
}

pub(super) fn tagged(pattern: &str) -> Value {
    json!({"tagStatus": "tagged", "tagPatternList": [pattern]})
}

#[test]
fn policies_of_ecr_decide_as_ecr_does() {
    let any = json!({"tagStatus": "any"});
    let prefix = json!({"tagStatus": "tagged", "tagPrefixList": ["prod"]});
    for rules in [
        // "Filtering on image age" and "Filtering on image count" of its documentation.
        json!([ecr_rule(1, &tagged("prod*"), "sinceImagePushed", 14)]),
        json!([ecr_rule(1, &any, "imageCountMoreThan", 4)]),
        json!([ecr_rule(1, &any, "sinceImagePulled", 14)]),
        // "Filtering on multiple rules", examples A and B: the order of the two does not matter where tags are told apart.
        json!([ecr_rule(1, &prefix, "imageCountMoreThan", 1), ecr_rule(2, &tagged("beta*"), "imageCountMoreThan", 1)]),
        json!([ecr_rule(2, &prefix, "imageCountMoreThan", 1), ecr_rule(1, &tagged("beta*"), "imageCountMoreThan", 1)]),
        // A rule about all that comes last leaves alone what those before it are about.
        json!([ecr_rule(1, &prefix, "imageCountMoreThan", 1), ecr_rule(5, &any, "sinceImagePushed", 20)]),
        json!([
            ecr_rule(9, &any, "sinceImagePulled", 5),
            ecr_rule(1, &tagged("v*"), "sinceImagePushed", 30),
            ecr_rule(2, &tagged("latest"), "sinceImagePushed", 50)
        ]),
        json!([
            ecr_rule(1, &tagged("*-prod"), "sinceImagePushed", 14),
            ecr_rule(2, &tagged("beta-*"), "sinceImagePushed", 3)
        ]),
    ] {
        compare(System::Ecr, &json!({"rules": rules}), Stays::Same, UNPULLED, ecr);
        compare(System::Ecr, &json!({"rules": rules}), Stays::NoLess, ALL_KINDS, ecr);
    }
    for count in ["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled"] {
        compare(System::Ecr, &json!({"rules": [ecr_rule(1, &any, count, 4)]}), Stays::Same, ALL_KINDS, ecr);
    }
}

#[test]
fn images_of_ecr_are_counted_once_and_stay_with_all_of_their_tags() {
    let any = json!({"tagStatus": "any"});
    let images: Vec<Image> =
        (1..=5).map(|n| image(&[&format!("v1.0.{n}"), &format!("sha-{n}")], 100 - n, None)).collect();
    let (policies, _) =
        translated(System::Ecr, &json!({"rules": [ecr_rule(1, &any, "imageCountMoreThan", 4)]}).to_string());
    assert_eq!(kept(&policies, "app", &images), tags(&images[1..]));
    let rules = [ecr_rule(1, &tagged("prod*"), "imageCountMoreThan", 1), ecr_rule(2, &any, "sinceImagePushed", 14)];
    let (policies, remarks) = translated(System::Ecr, &json!({"rules": rules}).to_string());
    let images = [image(&["prod-2", "latest"], 999, None), image(&["dev"], 998, None)];
    assert_eq!(kept(&policies, "app", &images), tags(&images[..1]));
    assert!(remarks.iter().any(|remark| remark.contains("DELETES MORE")), "{remarks:#?}");
}

#[test]
fn a_tag_of_which_no_rule_of_ecr_is_stays_where_its_image_goes_there() {
    let policy = json!({"rules": [ecr_rule(1, &tagged("prod*"), "imageCountMoreThan", 1)]});
    compare(System::Ecr, &policy, Stays::More, ALL_KINDS, ecr);
    let (_, remarks) = translated(System::Ecr, &policy.to_string());
    assert!(remarks.iter().any(|remark| remark.contains("no rule is about stays")), "{remarks:#?}");
}

#[test]
fn rules_of_ecr_that_select_the_same_keep_more_and_say_so() {
    let any = json!({"tagStatus": "any"});
    for (rules, words) in [
        (
            json!([ecr_rule(1, &tagged("prod*"), "imageCountMoreThan", 1), ecr_rule(2, &any, "imageCountMoreThan", 6)]),
            "rules[0]",
        ),
        (
            json!([ecr_rule(1, &tagged("*-prod"), "sinceImagePushed", 3), ecr_rule(2, &any, "sinceImagePushed", 30)]),
            "if either keeps",
        ),
        (
            json!([ecr_rule(
                1,
                &json!({"tagStatus": "tagged", "tagPatternList": ["v*", "*prod*"]}),
                "sinceImagePushed",
                9
            )]),
            "a tag for each of the patterns",
        ),
    ] {
        let policy = json!({"rules": rules});
        compare(System::Ecr, &policy, Stays::More, UNPULLED, ecr);
        compare(System::Ecr, &policy, Stays::More, ALL_KINDS, ecr);
        let (_, remarks) = translated(System::Ecr, &policy.to_string());
        assert!(remarks.iter().any(|remark| remark.contains(words)), "{remarks:#?}");
    }
}

#[test]
fn images_of_ecr_that_go_to_the_archive_stay() {
    let mut rule = ecr_rule(1, &json!({"tagStatus": "any"}), "sinceImagePulled", 2);
    rule["action"] = json!({"type": "transition", "targetStorageClass": "archive"});
    let mut archived =
        ecr_rule(2, &json!({"tagStatus": "any", "storageClass": "archive"}), "sinceImageTransitioned", 2);
    archived["selection"]["countUnit"] = "days".into();
    let (policies, remarks) = translated(System::Ecr, &json!({"rules": [rule, archived]}).to_string());
    let images = [image(&["old"], 999, None)];
    assert_eq!(kept(&policies, "app", &images), tags(&images));
    assert_eq!(remarks.iter().filter(|remark| remark.contains("archive")).count(), 2, "{remarks:#?}");
}

#[test]
fn what_the_command_line_of_ecr_prints_is_read_with_its_repository() {
    let policy = json!({"rules": [ecr_rule(1, &tagged("prod*"), "imageCountMoreThan", 1)]});
    let answer = json!({"registryId": "0123", "repositoryName": "team/app", "lifecyclePolicyText": policy.to_string(),
        "lastEvaluatedAt": "2026-01-01T00:00:00+00:00"});
    let arguments = Arguments { repository: Vec::new(), ..arguments(System::Ecr) };
    let (yaml, _) = convert(&arguments, &answer.to_string()).unwrap();
    assert!(yaml.contains("- team/app\n"), "{yaml}");
    let (yaml, remarks) = convert(&arguments, &policy.to_string()).unwrap();
    assert!(yaml.contains("- '**'\n") && remarks.iter().any(|r| r.text.contains("--repository")), "{yaml}");
}
