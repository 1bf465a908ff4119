//! The objects in files: those of `lagan up`, and policies that a command is given.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::api::Validator;
use crate::api::v1alpha1::{Registry, RetentionPolicy};
use crate::cli::exit::InvalidUsage;
use crate::cli::yaml;

/// The namespace of objects that name none, as `kubectl` has it.
const DEFAULT_NAMESPACE: &str = "default";

/// Namespace and name.
pub(super) type Key = (String, String);

/// An object, and what its file gives of it, without defaults.
#[derive(Debug, Clone)]
pub(super) struct Declared<T> {
    /// The object, with its defaults.
    pub(super) object: T,
    /// As it is written.
    pub(super) given: Value,
    /// Its file, and which of its documents.
    pub(super) place: String,
}

/// Everything in the files.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// In the order of the files: the first one takes the address.
    pub(super) registries: Vec<(Key, Declared<Registry>)>,
    /// By namespace and name.
    pub(super) policies: BTreeMap<Key, Declared<RetentionPolicy>>,
    secrets: BTreeMap<Key, BTreeMap<String, Vec<u8>>>,
    config_maps: BTreeMap<Key, BTreeMap<String, Vec<u8>>>,
    validated: BTreeMap<(String, Key), Value>,
    /// What is in the files and does nothing here.
    pub(super) remarks: Vec<String>,
}

impl Objects {
    /// Reads files that were read as text, and checks them as an API server would: `before` is what they said before.
    ///
    /// # Errors
    /// Names the file, the object, the field and what would be right.
    pub(super) fn read(
        files: &[(PathBuf, String)],
        validator: &Validator,
        before: Option<&Self>,
    ) -> Result<Self, InvalidUsage> {
        let mut objects = Self::default();
        for (file, text) in files {
            // Editors of some systems begin a file with a mark that is no part of it.
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            yaml::check_depth(text).map_err(|what| InvalidUsage(format!("{}: {what}", file.display())))?;
            for (at, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
                let place = format!("{}: document {}", file.display(), at + 1);
                let wrong = |what: String| InvalidUsage(format!("{place}: {what}"));
                // JSON's values take the last of a key that is there twice; YAML's refuse it.
                let value = serde_yaml::Value::deserialize(document).map_err(|error| wrong(error.to_string()))?;
                let value = serde_json::to_value(value).map_err(|error| wrong(error.to_string()))?;
                if !value.is_null() {
                    objects.add(value, validator, before, &place).map_err(wrong)?;
                }
            }
        }
        Ok(objects)
    }

    /// A key of a Secret.
    pub(super) fn secret(&self, namespace: &str, name: &str, key: &str) -> Option<&[u8]> {
        self.secret_data(namespace, name)?.get(key).map(Vec::as_slice)
    }

    /// All of a Secret.
    pub(super) fn secret_data(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.secrets.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// A key of a `ConfigMap`.
    pub(super) fn config_map(&self, namespace: &str, name: &str, key: &str) -> Option<&[u8]> {
        self.config_maps.get(&(namespace.to_owned(), name.to_owned()))?.get(key).map(Vec::as_slice)
    }

    fn add(
        &mut self,
        mut value: Value,
        validator: &Validator,
        before: Option<&Self>,
        place: &str,
    ) -> Result<(), String> {
        let text = |value: &Value, path| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text(&value, "/apiVersion"), text(&value, "/kind"));
        if kind.is_empty() || version.is_empty() {
            return Err("it is no object: apiVersion and kind are missing".to_owned());
        }
        let name = text(&value, "/metadata/name");
        let metadata = value.pointer_mut("/metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata {
            metadata.entry("namespace").or_insert_with(|| json!(DEFAULT_NAMESPACE));
        }
        let key = (text(&value, "/metadata/namespace"), name);
        let named = |reason: String| format!("{kind} {}: {reason}", key.1);
        if validator.knows(&value) {
            let id = (kind.clone(), key.clone());
            let old = before.and_then(|before| before.validated.get(&id));
            let valid = validator.validate_update(&value, old).map_err(|invalid| named(invalid.to_string()))?;
            if self.validated.insert(id, valid.clone()).is_some() {
                return Err(named("it is there twice".to_owned()));
            }
            let place = place.to_owned();
            if kind == "Registry" {
                let object = object(valid).map_err(named)?;
                self.registries.push((key.clone(), Declared { object, given: value, place }));
            } else {
                let object = object(valid).map_err(named)?;
                self.policies.insert(key.clone(), Declared { object, given: value, place });
            }
            Ok(())
        } else if version.starts_with("lagan.dev/") {
            Err(named(format!(
                "there is no kind {kind} in {version}: lagan.dev/v1alpha1 has Registry and RetentionPolicy"
            )))
        } else if (version.as_str(), kind.as_str()) == ("v1", "Secret") {
            let secret: Secret = object(value).map_err(named)?;
            self.secrets.insert(key, data_of(secret));
            Ok(())
        } else if (version.as_str(), kind.as_str()) == ("v1", "ConfigMap") {
            let map: ConfigMap = object(value).map_err(named)?;
            let texts = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
            self.config_maps.insert(key, texts.collect());
            Ok(())
        } else {
            self.remarks.push(format!("{kind} {} is of a kind that does nothing here", key.1));
            Ok(())
        }
    }
}

fn object<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// What a Secret holds: as in a cluster, `stringData` overrules `data`.
fn data_of(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    let texts = secret.string_data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
    data.chain(texts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Objects, InvalidUsage> {
        Objects::read(&[("lagan.yaml".into(), text.to_owned())], &Validator::new().unwrap(), None)
    }

    const REGISTRY: &str = "apiVersion: lagan.dev/v1alpha1\nkind: Registry\nmetadata: {name: images}\nspec: {}\n";

    #[test]
    fn objects_of_one_file_are_told_apart() {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: users}\nstringData: {htpasswd: 'a:b'}\n";
        let objects = read(&format!("{REGISTRY}---\n# nothing\n---\n{secret}")).unwrap();
        assert_eq!(objects.registries[0].0, ("default".to_owned(), "images".to_owned()));
        assert_eq!(objects.secret("default", "users", "htpasswd"), Some(b"a:b".as_slice()));
    }

    #[test]
    fn wrong_object_is_named_with_its_file_and_field() {
        let error =
            read(&format!("{REGISTRY}  ")).map(|_| ()).and(read(&REGISTRY.replace("{}", "{replicas: -1}")).map(|_| ()));
        let InvalidUsage(message) = error.unwrap_err();
        assert!(message.starts_with("lagan.yaml: document 1: Registry images: spec.replicas"), "{message}");
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        for twice in ["spec: {replicas: 1, replicas: 2}", "spec: {}\nspec: {replicas: 1}"] {
            let InvalidUsage(message) = read(&REGISTRY.replace("spec: {}", twice)).unwrap_err();
            assert!(message.starts_with("lagan.yaml: document 1: ") && message.contains("duplicate"), "{message}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_an_object() {
        assert_eq!(read(&format!("\u{feff}{REGISTRY}")).unwrap().registries.len(), 1);
    }

    #[test]
    fn misspelled_kind_or_version_is_no_object_to_leave_out() {
        for (right, wrong) in [("kind: Registry", "kind: registry"), ("v1alpha1", "v1")] {
            let InvalidUsage(message) = read(&REGISTRY.replace(right, wrong)).unwrap_err();
            assert!(message.contains("lagan.dev/v1alpha1 has Registry and RetentionPolicy"), "{message}");
        }
    }

    #[test]
    fn object_that_is_there_twice_is_refused() {
        let InvalidUsage(message) = read(&format!("{REGISTRY}---\n{REGISTRY}")).unwrap_err();
        assert!(message.contains("document 2: Registry images: it is there twice"), "{message}");
    }

    #[test]
    fn what_cannot_change_is_refused_when_a_file_is_read_again() {
        let validator = Validator::new().unwrap();
        let file = |text: String| vec![(PathBuf::from("lagan.yaml"), text)];
        let before = Objects::read(&file(REGISTRY.to_owned()), &validator, None).unwrap();
        let changed = REGISTRY.replace("{}", "{storage: {type: EmptyDir}}");
        let InvalidUsage(message) = Objects::read(&file(changed), &validator, Some(&before)).unwrap_err();
        assert!(message.contains("storage.type cannot change"), "{message}");
    }
}
