//! Where in an object something is.

use std::str::FromStr;

use serde_json::Value;

/// A way from an object to some of its fields, such as `.spec.containers[*].image`.
///
/// Invariant: at least one step. A field is `.name`, or `['name']` where the name has other characters than letters,
/// digits, `_`, `$` and `-`; `[*]` is each element of a list or of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Each,
}

/// A text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no path such as .spec.image, .spec.containers[*].image or .metadata.annotations['example.com/image']"
)]
pub struct FieldPathError {
    text: String,
}

/// An object has something else where a path leads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path does not fit: it leads through {found}")]
pub struct Misfit {
    found: &'static str,
}

impl FieldPath {
    /// The pattern that the schema of a resource checks.
    pub const PATTERN: &'static str = r"^(\.[A-Za-z_$][A-Za-z0-9_$-]*|\['[^']+'\]|\[\*\])+$";

    /// Calls `found` with each value that the path leads to. A field that is not there, or null, leads nowhere.
    ///
    /// # Errors
    /// When the path leads through something that has no fields or no elements.
    pub fn visit<'v>(&self, object: &'v Value, found: &mut impl FnMut(&'v Value)) -> Result<(), Misfit> {
        follow(&self.steps, object, found)
    }
}

fn follow<'v>(steps: &[Step], value: &'v Value, found: &mut impl FnMut(&'v Value)) -> Result<(), Misfit> {
    let Some((step, rest)) = steps.split_first() else {
        found(value);
        return Ok(());
    };
    match (step, value) {
        (_, Value::Null) => Ok(()),
        (Step::Field(name), Value::Object(fields)) => {
            fields.get(name).map_or(Ok(()), |value| follow(rest, value, found))
        }
        (Step::Each, Value::Object(fields)) => fields.values().try_for_each(|value| follow(rest, value, found)),
        (Step::Each, Value::Array(items)) => items.iter().try_for_each(|item| follow(rest, item, found)),
        (Step::Field(_), Value::Array(_)) => Err(Misfit { found: "a list: write [*] for each of its elements" }),
        (_, Value::String(_)) => Err(Misfit { found: "a text" }),
        (_, Value::Bool(_) | Value::Number(_)) => Err(Misfit { found: "a number or a boolean" }),
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = step_of(rest).ok_or_else(|| FieldPathError { text: text.to_owned() })?;
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() { Err(FieldPathError { text: text.to_owned() }) } else { Ok(Self { steps }) }
    }
}

/// The first step of a text, and what follows it.
fn step_of(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix("[*]") {
        return Some((Step::Each, rest));
    }
    if let Some(rest) = text.strip_prefix("['") {
        let (name, rest) = rest.split_once("']")?;
        return (!name.is_empty() && !name.contains('\'')).then(|| (Step::Field(name.to_owned()), rest));
    }
    let rest = text.strip_prefix('.')?;
    let may_begin = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    let end = rest.find(|c: char| !(may_begin(c) || c.is_ascii_digit() || c == '-')).unwrap_or(rest.len());
    let (name, rest) = rest.split_at_checked(end)?;
    name.starts_with(may_begin).then(|| (Step::Field(name.to_owned()), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str, object: &Value) -> Result<Vec<Value>, Misfit> {
        let mut all = Vec::new();
        path.parse::<FieldPath>().unwrap().visit(object, &mut |value| all.push(value.clone()))?;
        Ok(all)
    }

    #[test]
    fn path_leads_to_every_value_that_it_names() {
        let object = json!({
            "metadata": {"annotations": {"example.com/image": "a:1"}},
            "spec": {"image": "b:1", "containers": [{"image": "c:1"}, {"name": "none"}, {"image": null}],
                "tiers": {"web": {"image": "d:1"}, "db": {"image": "e:1"}}, "list": [["f:1"], []]},
        });
        for (path, expected) in [
            (".metadata.annotations['example.com/image']", json!(["a:1"])),
            (".spec.image", json!(["b:1"])),
            (".spec['image']", json!(["b:1"])),
            (".spec.containers[*].image", json!(["c:1", null])),
            (".spec.tiers[*].image", json!(["e:1", "d:1"])),
            (".spec.list[*][*]", json!(["f:1"])),
            (".spec.nothing[*].image", json!([])),
        ] {
            assert_eq!(json!(found(path, &object).unwrap()), expected, "{path}");
        }
    }

    #[test]
    fn path_through_something_without_fields_does_not_fit() {
        let object = json!({"spec": {"containers": [{"image": "c:1"}], "image": "b:1", "replicas": 3}});
        for (path, words) in [
            (".spec.containers.image", "write [*]"),
            (".spec.image[*]", "a text"),
            (".spec.image.tag", "a text"),
            (".spec.replicas.image", "a number"),
        ] {
            let misfit = found(path, &object).unwrap_err().to_string();
            assert!(misfit.contains(words), "{path}: {misfit}");
        }
    }

    #[test]
    fn texts_that_are_no_paths_are_refused_as_the_schemas_pattern_does() {
        let pattern = regex::Regex::new(FieldPath::PATTERN).unwrap();
        for (text, is_path) in [
            (".spec.image", true),
            (".spec.containers[*].image", true),
            (".a-b.$c._d", true),
            ("['a b'][*]", true),
            ("spec.image", false),
            ("$.spec.image", false),
            ("", false),
            (".", false),
            (".spec.", false),
            (".spec..image", false),
            (".spec[0]", false),
            (".spec[image]", false),
            (".spec['']", false),
            (".spec['it's']", false),
            ("{.spec.image}", false),
        ] {
            assert_eq!(text.parse::<FieldPath>().is_ok(), is_path, "{text}");
            assert_eq!(pattern.is_match(text), is_path, "{text} by the pattern");
        }
    }
}
