//! Whether a live object is as it should be.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Whether `live` lacks something that `desired` says, or says it differently.
///
/// What `live` has beyond `desired` is the cluster's: defaults, what other managers added. A zero that the
/// cluster does not write out is equal to its absence, and quantities are equal when their amounts are: the
/// cluster rewrites `1024Mi` as `1Gi`.
#[must_use]
pub fn differs(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired.iter().any(|(key, wanted)| match live.get(key) {
            Some(found) => differs(wanted, found),
            None => !is_zero(wanted),
        }),
        (Value::Array(desired), Value::Array(live)) => {
            desired.len() != live.len() || desired.iter().zip(live).any(|(wanted, found)| differs(wanted, found))
        }
        (Value::String(desired), Value::String(live)) => desired != live && !same_amount(desired, live),
        (desired, live) => desired != live,
    }
}

/// A short hash of what was asked for. A field that is no longer asked for changes it, which [`differs`] alone
/// would not see.
#[must_use]
pub fn fingerprint(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().take(FINGERPRINT_BYTES).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Sixteen bytes: chance collisions are out of the question, and it fits a line.
const FINGERPRINT_BYTES: usize = 16;

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_zero),
    }
}

/// Whether two texts are the same amount, as Kubernetes' quantities have it.
fn same_amount(a: &str, b: &str) -> bool {
    amount(a).is_some_and(|a| amount(b) == Some(a))
}

/// A quantity in thousandths of its unit, if the text is one that has such a value.
fn amount(text: &str) -> Option<i128> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text.strip_suffix(unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let thousandths = match unit {
        "m" => 1,
        "" => 1000,
        _ => 1000 * scale(unit)?,
    };
    let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = digits.checked_mul(thousandths)?;
    (scaled % divisor == 0).then_some(scaled / divisor)
}

fn scale(unit: &str) -> Option<i128> {
    let exponent = |letter: char| "kMGTPE".find(letter).and_then(|at| u32::try_from(at + 1).ok());
    match unit.strip_suffix('i') {
        Some(prefix) => 1024_i128.checked_pow(exponent(single(&prefix.replace('K', "k"))?)?),
        None => 1000_i128.checked_pow(exponent(single(unit)?)?),
    }
}

fn single(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_cluster_adds_is_no_difference() {
        let desired = json!({"spec": {"containers": [{"name": "a", "image": "x", "hostNetwork": false}], "env": []}});
        let live = json!({"spec": {"containers": [{"name": "a", "image": "x", "pull": "Always"}], "uid": 1}, "x": 1});
        assert!(!differs(&desired, &live));
    }

    #[test]
    fn what_is_missing_or_other_is_a_difference() {
        let live = json!({"a": 1, "list": [1, 2], "map": {"k": "v"}});
        for desired in [json!({"a": 2}), json!({"b": 1}), json!({"list": [1]}), json!({"map": {"k": "w"}})] {
            assert!(differs(&desired, &live), "{desired}");
        }
        assert!(!differs(&json!({"list": [1, 2], "map": {}}), &live));
    }

    #[test]
    fn quantities_are_compared_by_amount() {
        for (a, b) in [("1024Mi", "1Gi"), ("1000m", "1"), ("0.5", "500m"), ("1.5Gi", "1536Mi"), ("1000k", "1M")] {
            assert!(!differs(&json!(a), &json!(b)), "{a} {b}");
        }
        for (a, b) in [("1G", "1Gi"), ("1", "2"), ("main", "other"), ("", "0"), ("1Xi", "1X")] {
            assert!(differs(&json!(a), &json!(b)), "{a} {b}");
        }
    }

    #[test]
    fn fingerprint_changes_with_what_is_asked_for() {
        assert_ne!(fingerprint(&json!({"a": 1})), fingerprint(&json!({"a": 1, "b": 2})));
        assert_eq!(fingerprint(&json!({"a": 1})), fingerprint(&json!({"a": 1})));
        assert_eq!(fingerprint(&json!(1)).len(), 32);
    }
}
