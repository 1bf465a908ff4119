//! How a field of a resource carries rules that the API server checks.

use schemars::Schema;
use serde_json::{Value, json};

use crate::api::Duration;

/// The value of `x-kubernetes-validations` for pairs of a CEL rule and the message for those who break it.
pub(super) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// The same for a field that is a length of time: its form is checked first, in words, and the rules only of what has
/// it. Otherwise each of them would add that it could not be evaluated.
pub(super) fn rules_of_duration(rules: &[(&str, &str)]) -> Value {
    let guarded = rules.iter().map(|(rule, message)| json!({"rule": where_duration("self", rule), "message": message}));
    let form = json!({"rule": is_duration("self"), "message": Duration::FORM});
    std::iter::once(form).chain(guarded).collect()
}

/// A CEL rule that asks something of a field only where that has the form of a length of time.
pub(super) fn where_duration(field: &str, rule: &str) -> String {
    format!("!{} || {rule}", is_duration(field))
}

fn is_duration(field: &str) -> String {
    format!("{field}.matches('{}')", Duration::PATTERN)
}

/// Lets rules demand what a type requires: their messages say what to write, that of the structure only that something
/// is missing.
pub(super) fn demanded_by_rules(schema: &mut Schema) {
    schema.remove("required");
}
