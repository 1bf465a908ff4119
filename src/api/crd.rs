//! The definitions of the resources, as the API server takes them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use super::v1alpha1::{Registry, RetentionPolicy};

/// Formats that the API server knows. It warns of others at every apply, and checks nothing by them.
const FORMATS: [&str; 6] = ["int32", "int64", "float", "double", "byte", "date-time"];

/// The definitions could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("the definitions of the resources could not be written down")]
pub struct CrdError {
    /// What the serializer says.
    #[from]
    source: serde_json::Error,
}

/// The definition of every resource, in the order of their names.
///
/// # Errors
/// Never in a released program: a test makes them all.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, CrdError> {
    crd_values()?.into_iter().map(|value| Ok(serde_json::from_value(value)?)).collect()
}

/// The same as values, which is the form to print: their numbers are whole.
///
/// # Errors
/// Never in a released program: a test makes them all.
pub fn crd_values() -> Result<Vec<Value>, CrdError> {
    [Registry::crd(), RetentionPolicy::crd()].iter().map(finish).collect()
}

/// What the derived definition lacks.
fn finish(crd: &CustomResourceDefinition) -> Result<Value, CrdError> {
    let mut value = serde_json::to_value(crd)?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        // Helm leaves definitions alone at uninstall, and so every object of theirs stays.
        metadata.insert("annotations".to_owned(), json!({"helm.sh/resource-policy": "keep"}));
    }
    let versions = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        version.pointer_mut("/schema/openAPIV3Schema").into_iter().for_each(simplify);
    }
    Ok(value)
}

/// A field that is not given is absent, not null: what rules ask with `has` then means what it says. Formats that
/// only Rust knows go, and titles, which repeat the kind. Bounds are whole numbers. Descriptions are one line, for
/// `kubectl explain` breaks lines itself.
fn simplify(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("nullable");
    schema.remove("title");
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| !FORMATS.contains(&format)) {
        schema.remove("format");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    for bound in ["minimum", "maximum"] {
        schema.get_mut(bound).into_iter().for_each(make_whole);
    }
    for inner in ["items", "additionalProperties"] {
        schema.get_mut(inner).into_iter().for_each(simplify);
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(simplify);
}

fn make_whole(number: &mut Value) {
    // Bounds of this schema are far below 2^53, up to which every whole number is exact.
    #[expect(clippy::cast_possible_truncation, reason = "a bound without a fraction, far below 2^53")]
    if let Some(whole) = number.as_f64().filter(|bound| bound.fract() == 0.0) {
        *number = json!(whole as i64);
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    /// The most that a definition may take: with its two annotations of last applied content, etcd's limit is 1.5 MiB,
    /// and `kubectl apply` refuses an annotation of 256 KiB.
    const MAX_BYTES: usize = 200 * 1024;

    fn name(crd: &Value) -> &str {
        crd.pointer("/metadata/name").and_then(Value::as_str).unwrap()
    }

    /// Calls `check` with every schema below `schema` and its path.
    fn walk(schema: &Value, path: &str, check: &mut dyn FnMut(&str, &Value)) {
        check(path, schema);
        for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(inner, &format!("{path}.{key}"), check);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(inner) {
                walk(inner, &format!("{path}[]"), check);
            }
        }
    }

    fn each_schema(check: &mut dyn FnMut(&str, &Value)) {
        for crd in crd_values().unwrap() {
            let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
            walk(schema, "", check);
        }
    }

    #[test]
    fn committed_definitions_are_what_the_types_say() {
        for crd in crd_values().unwrap() {
            let path = format!("crds/{}.yaml", name(&crd));
            let text = serde_yaml::to_string(&crd).unwrap();
            if env::var_os("LAGAN_UPDATE").is_some() {
                fs::create_dir_all("crds").unwrap();
                fs::write(&path, &text).unwrap();
            }
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == text, "{path} differs: run `LAGAN_UPDATE=1 cargo test crd`");
        }
    }

    #[test]
    fn definitions_stay_small() {
        for crd in crds().unwrap() {
            let size = serde_json::to_vec(&crd).unwrap().len();
            assert!(size <= MAX_BYTES, "{:?} has {size} bytes", crd.metadata.name);
        }
    }

    #[test]
    fn every_field_is_described() {
        let mut missing = Vec::new();
        each_schema(&mut |path, schema| {
            let is_field = !path.ends_with("[]");
            if is_field && schema.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
                missing.push(path.to_owned());
            }
        });
        // The fields of Kubernetes' own types are described by Kubernetes; `spec` and `status` are by their types.
        assert!(missing.is_empty(), "without a description: {missing:?}");
    }

    #[test]
    fn lists_maps_and_texts_are_bounded() {
        // Kubernetes' own types come as they are: the pod's validation bounds them, and no rule looks at them.
        let foreign = [
            ".workload.affinity",
            ".workload.podSecurityContext",
            ".workload.resources",
            ".workload.tolerations[]",
            ".workload.topologySpreadConstraints[]",
            ".conditions[]",
        ];
        let mut unbounded = Vec::new();
        each_schema(&mut |path, schema| {
            if foreign.iter().any(|prefix| path.contains(prefix)) {
                return;
            }
            let has = |key: &str| schema.get(key).is_some();
            let bounded = match schema.get("type").and_then(Value::as_str) {
                Some("array") => has("maxItems"),
                Some("object") if has("additionalProperties") => has("maxProperties"),
                Some("string") => has("maxLength") || has("enum") || has("format"),
                _ => true,
            };
            if !bounded {
                unbounded.push(path.to_owned());
            }
        });
        assert!(unbounded.is_empty(), "without a bound: {unbounded:?}");
    }
}
