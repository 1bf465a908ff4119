//! The validator that works without an API server takes and refuses the objects of `tests/objects`, and what it
//! takes can be read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::{fs, path::Path};

use lagan::api::v1alpha1::{Registry, RetentionPolicy};
use lagan::api::{Invalid, Validator};
use serde::Deserialize as _;
use serde_json::Value;

struct Case {
    name: String,
    message: Option<String>,
    documents: Vec<Value>,
}

fn cases(folder: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = fs::read_dir(Path::new("tests/objects").join(folder))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let message = text.lines().next().and_then(|line| line.strip_prefix("# message: "));
            let documents = serde_yaml::Deserializer::from_str(&text);
            Case {
                name: path.display().to_string(),
                message: message.map(str::to_owned),
                documents: documents.map(|document| Value::deserialize(document).unwrap()).collect(),
            }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!cases.is_empty(), "{folder} is empty");
    cases
}

fn assert_refused(case: &Case, outcome: Result<Value, Invalid>) {
    let message = case.message.as_ref().unwrap_or_else(|| panic!("{} names no message", case.name));
    let error = match outcome {
        Ok(_) => panic!("{} was taken", case.name),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(message), "{} was refused for another reason: {error}", case.name);
}

#[test]
fn accepted_objects_are_taken_and_can_be_read() {
    let validator = Validator::new().unwrap();
    for case in cases("accepted") {
        let [object] = case.documents.as_slice() else { panic!("{} holds one object", case.name) };
        let object = validator.validate(object).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let read = match object.get("kind").and_then(Value::as_str) {
            Some("Registry") => serde_json::from_value::<Registry>(object).map(drop),
            _ => serde_json::from_value::<RetentionPolicy>(object).map(drop),
        };
        read.unwrap_or_else(|error| panic!("{} cannot be read: {error}", case.name));
    }
}

#[test]
fn refused_objects_are_refused_with_their_message() {
    let validator = Validator::new().unwrap();
    for case in cases("refused") {
        let [object] = case.documents.as_slice() else { panic!("{} holds one object", case.name) };
        assert_refused(&case, validator.validate(object));
    }
}

#[test]
fn updates_that_must_not_be_are_refused_with_their_message() {
    let validator = Validator::new().unwrap();
    for case in cases("refused-updates") {
        let [old, new] = case.documents.as_slice() else { panic!("{} holds two objects", case.name) };
        let old = validator.validate(old).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_refused(&case, validator.validate_update(new, Some(&old)));
    }
}
