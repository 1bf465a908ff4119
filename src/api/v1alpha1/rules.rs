//! How a field of a resource carries rules that the API server checks.

use schemars::Schema;
use serde_json::{Value, json};

/// The value of `x-kubernetes-validations` for pairs of a CEL rule and the message for those who break it.
pub(super) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// Lets rules demand what a type requires: their messages say what to write, that of the structure only that something
/// is missing.
pub(super) fn demanded_by_rules(schema: &mut Schema) {
    schema.remove("required");
}
