//! `lagan retention convert`.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use lagan::api::Validator;
use serde::Deserialize;
use serde_json::Value;

use super::{lagan, text};

fn convert(arguments: &[&str], input: &str) -> Output {
    let mut command = lagan();
    command.args(["retention", "convert"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that does not read it all says why in its answer.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn examples_of_other_registries_become_policies_that_an_api_server_takes() {
    let validator = Validator::new().unwrap();
    for (system, file, policies, remark) in [
        ("harbor", "harbor-retention.json", 1, "rules[1]"),
        ("zot", "zot-config.json", 2, "delay"),
        ("ecr", "ecr-lifecycle-policy.json", 1, "rules"),
    ] {
        let path = format!("docs/examples/{file}");
        let done = convert(&["--from", system, "--registry", "images", &path], "");
        let (yaml, said) = (text(&done.stdout), text(&done.stderr));
        assert_eq!(done.status.code(), Some(0), "{said}");
        let objects: Vec<Value> =
            serde_yaml::Deserializer::from_str(&yaml).map(|d| Value::deserialize(d).unwrap()).collect();
        assert_eq!(objects.len(), policies, "{yaml}");
        for object in &objects {
            validator.validate(object).unwrap();
            assert_eq!(object["spec"]["registryRef"]["name"], "images");
            assert_eq!(object["spec"]["mode"], "DryRun");
        }
        assert!(said.lines().any(|line| line.starts_with(&format!("lagan: {remark}"))), "{said}");
        for line in said.lines() {
            assert!(yaml.contains(&line.replace("lagan: ", "# ")), "{line} is not in {yaml}");
        }
        // The same from standard input.
        let input = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text(&convert(&["--from", system, "--registry", "images", "-"], &input).stdout), yaml);
    }
}

#[test]
fn wrong_input_is_refused_with_its_place() {
    for (arguments, input, code, words) in [
        (&["--from", "ecr", "-"][..], "{", 64, "standard input: it is no lifecycle policy of ECR"),
        (
            &["--from", "harbor", "-"],
            "{\"rules\": [{\"template\": \"newest\"}]}",
            64,
            "rules[0].template: \"newest\" is not known",
        ),
        (&["--from", "zot", "-"], "{\"storage\": {}}", 64, "no storage.retention"),
        (&["--from", "quay", "-"], "", 64, "quay"),
        (&["--from", "ecr", "/nowhere/policy.json"], "", 1, "could not read /nowhere/policy.json"),
        (
            &["--from", "ecr", "--name", "Not A Name", "docs/examples/ecr-lifecycle-policy.json"],
            "",
            64,
            "metadata.name",
        ),
    ] {
        let done = convert(arguments, input);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words) && done.stdout.is_empty(), "{arguments:?}: {said}");
    }
}
