//! What an API server checks, without one: for the files of `lagan up`.

use jsonschema::error::ValidationErrorKind;
use kube::core::cel;
use serde_json::{Map, Value, json};

use super::crd::{CrdError, crd_values};
use super::{Duration, FieldError, Invalid, Quantity};

/// Checks objects against the definitions of the resources, and fills in their defaults.
///
/// It does what the API server does, in its order: unknown fields (which it refuses, as `kubectl` asks for by
/// default), nulls, defaults, types and bounds, then the CEL rules. The table in `tests/objects` holds both to that.
#[derive(Debug)]
pub struct Validator {
    kinds: Vec<Kind>,
}

/// One kind of resource.
#[derive(Debug)]
struct Kind {
    api_version: String,
    name: String,
    schema: Value,
    structure: jsonschema::Validator,
}

/// The definitions of the resources are no schemas.
#[derive(Debug, thiserror::Error)]
pub enum ValidatorError {
    /// They could not be written down.
    #[error(transparent)]
    Crd(#[from] CrdError),
    /// One lacks what every definition has.
    #[error("a definition lacks its group, version, kind or schema")]
    Incomplete,
    /// One cannot be read as a schema.
    #[error("a definition is no schema: {reason}")]
    Schema {
        /// What the reader says.
        reason: String,
    },
}

impl Validator {
    /// Compiles the definitions.
    ///
    /// # Errors
    /// Never in a released program: a test makes one.
    pub fn new() -> Result<Self, ValidatorError> {
        let kinds = crd_values()?.iter().map(Kind::new).collect::<Result<_, _>>()?;
        Ok(Self { kinds })
    }

    /// Whether the object is of a kind that this checks.
    #[must_use]
    pub fn knows(&self, object: &Value) -> bool {
        self.kind_of(object).is_some()
    }

    /// The object with its defaults, if it may be made.
    ///
    /// # Errors
    /// [`Invalid`] with every field that is wrong; rules are checked only when the structure is right.
    pub fn validate(&self, object: &Value) -> Result<Value, Invalid> {
        self.validate_update(object, None)
    }

    /// The object with its defaults, if it may take the place of `old`.
    ///
    /// # Errors
    /// As [`Validator::validate`]; also what must not change and does.
    pub fn validate_update(&self, object: &Value, old: Option<&Value>) -> Result<Value, Invalid> {
        let kind = self.kind_of(object).ok_or_else(|| {
            let known: Vec<String> = self.kinds.iter().map(|k| format!("{} {}", k.api_version, k.name)).collect();
            FieldError::new("kind", format!("is none of {}", known.join(", ")))
        })?;
        kind.validate(object, old)
    }

    fn kind_of(&self, object: &Value) -> Option<&Kind> {
        let text = |field| object.get(field).and_then(Value::as_str);
        let (api_version, kind) = (text("apiVersion")?, text("kind")?);
        self.kinds.iter().find(|k| k.api_version == api_version && k.name == kind)
    }
}

impl Kind {
    fn new(crd: &Value) -> Result<Self, ValidatorError> {
        let text = |path| crd.pointer(path).and_then(Value::as_str).ok_or(ValidatorError::Incomplete);
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").ok_or(ValidatorError::Incomplete)?;
        let structure = jsonschema::options()
            .should_validate_formats(true)
            .build(&structure_of(schema, true))
            .map_err(|error| ValidatorError::Schema { reason: error.to_string() })?;
        Ok(Self {
            api_version: format!("{}/{}", text("/spec/group")?, text("/spec/versions/0/name")?),
            name: text("/spec/names/kind")?.to_owned(),
            schema: schema.clone(),
            structure,
        })
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Result<Value, Invalid> {
        let mut object = object.clone();
        drop_nulls(&mut object);
        let object = cel::apply_defaults(&self.schema, &object);
        let mut errors: Vec<FieldError> = self.structure.iter_errors(&object).flat_map(|e| explain(&e)).collect();
        if object.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
            errors.push(FieldError::new("metadata.name", "is required"));
        }
        Invalid::unless_empty(errors)?;
        match cel::Validator::new().validate(&self.schema, &object, old) {
            Ok(()) => Ok(object),
            Err(broken) => {
                let errors = broken.into_iter().map(|error| FieldError::new(error.field_path, error.message)).collect();
                Invalid::unless_empty(errors).map(|()| object)
            }
        }
    }
}

/// The JSON schema that says the same as a structural schema, and refuses fields that it does not name.
fn structure_of(schema: &Value, is_root: bool) -> Value {
    let Some(schema) = schema.as_object() else { return schema.clone() };
    let mut result: Map<String, Value> = schema
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "default" | "description") && !key.starts_with("x-"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if schema.get("x-kubernetes-int-or-string").is_some() {
        result.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let mut properties: Map<String, Value> =
            properties.iter().map(|(name, inner)| (name.clone(), structure_of(inner, false))).collect();
        if is_root {
            for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
                properties.insert(name.to_owned(), json!({"type": kind}));
            }
        }
        result.insert("properties".to_owned(), Value::Object(properties));
        result.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get(inner) {
            result.insert(inner.to_owned(), structure_of(schema, false));
        }
    }
    Value::Object(result)
}

/// A field that is null is one that is not given, for none of the schemas has a field that may be null.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong, in the words of the field.
fn explain(error: &jsonschema::ValidationError<'_>) -> Vec<FieldError> {
    let path = field_path(&error.instance_path().to_string());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|name| FieldError::new(join(&path, name), "there is no such field")).collect()
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![FieldError::new(join(&path, name), "is required")]
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().into_iter().flatten().filter_map(Value::as_str);
            let message = format!("must be one of {}", options.collect::<Vec<_>>().join(", "));
            vec![FieldError::new(path, message)]
        }
        // As an API server says it.
        ValidationErrorKind::Minimum { limit } => {
            vec![FieldError::new(path, format!("{} should be greater than or equal to {limit}", error.instance()))]
        }
        ValidationErrorKind::Maximum { limit } => {
            vec![FieldError::new(path, format!("{} should be less than or equal to {limit}", error.instance()))]
        }
        ValidationErrorKind::Pattern { pattern } => vec![FieldError::new(path, form(error.instance(), pattern))],
        _ => {
            let message = error.to_string();
            let is_long = message.chars().count() > LONGEST_QUOTE * 2;
            let message = if is_long { error.masked_with("the value").to_string() } else { message };
            vec![FieldError::new(path, message)]
        }
    }
}

/// How many characters of a value an error repeats.
const LONGEST_QUOTE: usize = 100;

/// A value as an error repeats it.
fn quote(given: &Value) -> String {
    let text = given.to_string();
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// What a text must look like, in words. A pattern is for programs.
const FORMS: [(&str, &str); 16] = [
    (Duration::PATTERN, Duration::FORM),
    (Quantity::PATTERN, "write a number of bytes, perhaps with a unit, such as 20Gi, 4Mi, 500M or 1048576"),
    (
        r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$",
        "write a scheme, a host and perhaps a port, such as https://storage.example.com:9000",
    ),
    (
        r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
        "write names with slashes between them, such as registries/main",
    ),
    (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "write small letters and digits, and '-' between them"),
    (r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "write small letters and digits, and '.' or '-' between them"),
    (r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", "write small letters and digits, and '.', '_' or '-' between them"),
    (r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$", "write letters and digits, and '_' or '-' between them"),
    (r"^[a-z0-9]+(-[a-z0-9]+)*$", "write small letters and digits, and single '-' between them"),
    (r"^[a-z0-9]+$", "write small letters and digits"),
    (r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$", "write a host and a port, such as redis.example.com:6379"),
    (
        r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$",
        "write a tag, such as v1.2: letters, digits, '_', and then also '.' and '-'",
    ),
    (r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$", "write a group and a version, such as apps/v1, or v1"),
    (r"^[A-Z][A-Za-z0-9]*$", "write a kind as its objects do, such as Workflow"),
    (
        r"^(\.[A-Za-z_$][A-Za-z0-9_$-]*|\['[^']+'\]|\[\*\])+$",
        "write a path of fields, such as .spec.image, .spec.templates[*].image or .spec['a/b']",
    ),
    (
        r"^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$",
        "write a digest: sha256: and 64 hexadecimal digits, or sha512: and 128",
    ),
];

fn form(given: &Value, pattern: &str) -> String {
    let given = quote(given);
    match FORMS.iter().find(|(known, _)| *known == pattern) {
        Some((_, words)) => format!("{given} is not understood: {words}"),
        None => format!("{given} does not match {pattern}"),
    }
}

/// `/spec/keep/0/tags` as people write it: `spec.keep[0].tags`.
fn field_path(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    parts.fold(String::new(), |path, part| {
        if part.bytes().all(|b| b.is_ascii_digit()) { format!("{path}[{part}]") } else { join(&path, &part) }
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(text: &str) -> Result<Value, Invalid> {
        Validator::new().unwrap().validate(&serde_yaml::from_str(text).unwrap())
    }

    fn registry(spec: &str) -> Value {
        let text = format!("apiVersion: lagan.dev/v1alpha1\nkind: Registry\nmetadata: {{name: main}}\nspec: {spec}");
        serde_yaml::from_str(&text).unwrap()
    }

    #[test]
    fn an_error_is_short_however_long_the_value_is() {
        let long = "x".repeat(100_000);
        let rules = vec![format!("{{name: r, tags: ['{long}'], always: {{}}}}"); 70].join(", ");
        for spec in [format!("minimumAge: '{long}'"), format!("keep: [{rules}]"), format!("timeZone: ['{long}']")] {
            let text = format!(
                "{{apiVersion: lagan.dev/v1alpha1, kind: RetentionPolicy, metadata: {{name: p}}, \
                 spec: {{registryRef: {{name: r}}, {spec}}}}}"
            );
            let object = serde_yaml::from_str(&text).unwrap();
            let error = Validator::new().unwrap().validate(&object).unwrap_err().to_string();
            assert!(error.len() < 2_000, "{} bytes: {}", error.len(), &error[..500]);
        }
    }

    #[test]
    fn defaults_are_filled_in_as_the_api_server_does() {
        let object = Validator::new().unwrap().validate(&registry("{tls: null, deletion: {mode: Soft}}")).unwrap();
        let at = |path: &str| object.pointer(path).cloned().unwrap_or_default();
        assert_eq!(at("/spec/replicas"), json!(1));
        assert_eq!(at("/spec/deletion/restoreWindow"), json!("168h"));
        assert_eq!(at("/spec/storage"), json!({"type": "PersistentVolumeClaim"}));
        assert_eq!(at("/spec/logging"), json!({"level": "Info", "format": "Json"}));
        assert_eq!(at("/spec/tls/mode"), json!("SelfSigned"));
    }

    #[test]
    fn errors_name_the_field() {
        let text = "apiVersion: lagan.dev/v1alpha1\nkind: RetentionPolicy\nmetadata: {name: p}\n\
            spec: {registryRef: {}, mode: Delete, keep: [{name: a, tags: [v*], always: {}, maxAge: 1h}]}";
        let errors = validate(text).unwrap_err();
        let mut errors: Vec<String> = errors.errors().iter().map(ToString::to_string).collect();
        errors.sort_unstable();
        assert_eq!(
            errors,
            [
                "spec.keep[0].maxAge: there is no such field",
                "spec.mode: must be one of DryRun, Enforce",
                "spec.registryRef.name: is required",
            ]
        );
    }

    #[test]
    fn text_of_another_form_is_told_in_words_what_to_write() {
        let error = Validator::new().unwrap().validate(&registry("{deletion: {restoreWindow: 7d}}")).unwrap_err();
        let expected = "spec.deletion.restoreWindow: \"7d\" is not understood: write hours, minutes and seconds, such as 720h or \
                        1h30m; there are no days";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn every_pattern_of_the_definitions_has_words() {
        fn look(schema: &Value) -> usize {
            let pattern = schema.get("pattern").and_then(Value::as_str);
            if let Some(pattern) = pattern {
                assert!(FORMS.iter().any(|(known, _)| *known == pattern), "{pattern} has no words in FORMS");
            }
            let inner: usize = match schema {
                Value::Object(fields) => fields.values().map(look).sum(),
                Value::Array(items) => items.iter().map(look).sum(),
                _ => 0,
            };
            usize::from(pattern.is_some()) + inner
        }
        let found: usize = crd_values().unwrap().iter().map(look).sum();
        assert!(found > 20, "only {found} patterns were found");
    }

    #[test]
    fn a_kind_that_is_none_is_refused() {
        let error = validate("{apiVersion: v1, kind: Pod, metadata: {name: p}}").unwrap_err();
        assert!(error.to_string().contains("lagan.dev/v1alpha1 Registry"), "{error}");
    }

    #[test]
    fn what_must_not_change_is_compared_with_what_was() {
        let validator = Validator::new().unwrap();
        let claim = |text: &str| registry(&format!("{{storage: {{persistentVolumeClaim: {text}}}}}"));
        let bare = registry("{}");
        let cases = [
            (&bare, claim("{template: {size: 30Gi}}"), Ok(())),
            (&bare, claim("{template: {size: 10Gi}}"), Err("only grow")),
            (&bare, claim("{template: {storageClassName: fast}}"), Err("storageClassName cannot change")),
            (&bare, claim("{template: {accessModes: [ReadWriteOnce]}}"), Ok(())),
            (&bare, claim("{template: {accessModes: [ReadWriteMany]}}"), Err("accessModes cannot change")),
            (&bare, claim("{claimName: restored}"), Ok(())),
            (&claim("{claimName: mine}"), bare.clone(), Err("claimName cannot be removed")),
            (&claim("{template: {size: 30Gi, storageClassName: fast}}"), claim("{claimName: restored}"), Ok(())),
            (&claim("{template: {size: 30Gi}}"), bare.clone(), Err("only grow")),
            (&bare, registry("{storage: {type: EmptyDir}}"), Err("storage.type cannot change")),
        ];
        for (old, new, expected) in cases {
            let old = validator.validate(old).unwrap();
            let outcome = validator.validate_update(&new, Some(&old));
            match expected {
                Ok(()) => assert!(outcome.is_ok(), "{new} was refused: {outcome:?}"),
                Err(part) => {
                    let error = outcome.unwrap_err().to_string();
                    assert!(error.contains(part), "{new}: {error}");
                }
            }
        }
    }
}
