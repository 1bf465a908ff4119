//! Kinds of objects that name images at paths that a policy tells.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::{
    Client, ResourceExt as _,
    core::{ApiResource, DynamicObject, GroupVersion, GroupVersionKind},
};
use serde_json::Value;

use crate::api::v1alpha1::{CustomResourceImages, FieldPath};

use super::{
    error::Error,
    protection::{Protection, User},
    source::name_of,
};

/// A kind that a policy names, as the cluster has it.
#[derive(Debug, Clone)]
pub(super) struct CustomResource {
    /// How to ask for it.
    pub(super) resource: ApiResource,
    /// Whether its objects are in namespaces.
    pub(super) is_namespaced: bool,
    paths: Vec<(String, FieldPath)>,
}

impl CustomResource {
    /// Asks the cluster for a kind that a policy names.
    ///
    /// # Errors
    /// When the cluster does not have it, or cannot be asked.
    pub(super) async fn find(client: &Client, wanted: &CustomResourceImages) -> Result<Self, Error> {
        let CustomResourceImages { api_version, kind, paths } = wanted;
        let parse = |path: &String| Ok((path.clone(), path.parse().map_err(|source| Error::Path { source })?));
        let paths = paths.iter().map(parse).collect::<Result<_, _>>()?;
        let missing = || Error::NoKind { kind: kind.clone(), api_version: api_version.clone() };
        let listed = if api_version.contains('/') {
            client.list_api_group_resources(api_version).await
        } else {
            client.list_core_api_resources(api_version).await
        };
        let listed = match listed {
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(missing()),
            other => other.map_err(|error| Error::listing(format!("the kinds of {api_version}"), error))?,
        };
        // A name with a slash is a part of an object, such as its status.
        let is_wanted = |known: &APIResource| known.kind == *kind && !known.name.contains('/');
        let known = listed.resources.into_iter().find(is_wanted).ok_or_else(missing)?;
        let GroupVersion { group, version, .. } = api_version.parse().map_err(|_| missing())?;
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind { group, version, kind: known.kind }, &known.name);
        Ok(Self { resource, is_namespaced: known.namespaced, paths })
    }

    /// Protects what an object of the kind names.
    ///
    /// # Errors
    /// When there is something at a path of which it is not known what image it means.
    pub(super) fn add(&self, object: &DynamicObject, protection: &mut Protection<'_>) -> Result<(), Error> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let user = User { kind: &self.resource.kind, namespace: &namespace, name: &name };
        let resource = name_of(&self.resource);
        let mut whole = object.data.clone();
        // What a DynamicObject has read is no longer in its data.
        if let (Value::Object(fields), Ok(metadata)) = (&mut whole, serde_json::to_value(&object.metadata)) {
            fields.insert("metadata".to_owned(), metadata);
        }
        for (text, path) in &self.paths {
            let mut unknown = None;
            let visited = path.visit(&whole, &mut |value| {
                if let Err(words) = each_named(value, &mut |image| protection.add(user, image)) {
                    unknown.get_or_insert(words);
                }
            });
            visited.map_err(|misfit| Error::misfit(&resource, text, misfit))?;
            if let Some(words) = unknown {
                return Err(Error::NoImage { resource, path: text.clone(), message: words.to_owned() });
            }
        }
        Ok(())
    }
}

/// Calls `found` with each image that a value names: a text, a list of such, or the parts of a name.
fn each_named(value: &Value, found: &mut impl FnMut(&str)) -> Result<(), &'static str> {
    match value {
        Value::Null => Ok(()),
        Value::String(text) => {
            if !text.is_empty() {
                found(text);
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| each_named(item, found)),
        Value::Object(_) => {
            if let Some(image) = joined(value)? {
                found(&image);
            }
            Ok(())
        }
        Value::Bool(_) | Value::Number(_) => Err("it is a number or a boolean"),
    }
}

/// One text from `registry`, `repository`, `tag` and `digest`, as many operators have them.
fn joined(parts: &Value) -> Result<Option<String>, &'static str> {
    let part = |key: &str| match parts.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err("registry, repository, tag and digest must be texts"),
    };
    let (registry, repository, tag, digest) = (part("registry")?, part("repository")?, part("tag")?, part("digest")?);
    match (repository, tag, digest) {
        (None, None, None) => Ok(None),
        (None, Some(_), None) => Err("it has a tag and no repository, so which image it means is not known"),
        (None, _, Some(digest)) => Ok(Some(digest.to_owned())),
        (Some(repository), tag, digest) => {
            let registry = registry.map(|registry| format!("{registry}/")).unwrap_or_default();
            let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
            Ok(Some(format!("{registry}{repository}{tag}{digest}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(value: &Value) -> Result<Vec<String>, &'static str> {
        let mut all = Vec::new();
        each_named(value, &mut |image| all.push(image.to_owned()))?;
        Ok(all)
    }

    #[test]
    fn every_form_of_a_name_is_read() {
        for (value, expected) in [
            (json!("team/app:v1"), &["team/app:v1"][..]),
            (json!(["a:1", "b:1", null]), &["a:1", "b:1"]),
            (json!({"repository": "team/app", "tag": "v1"}), &["team/app:v1"]),
            (json!({"registry": "host:5000", "repository": "team/app"}), &["host:5000/team/app"]),
            (json!({"repository": "team/app", "tag": "v1", "digest": "sha256:a"}), &["team/app:v1@sha256:a"]),
            (json!({"repository": "team/app", "tag": null, "digest": "sha256:a"}), &["team/app@sha256:a"]),
            (json!({"digest": "sha256:a", "tag": "v1"}), &["sha256:a"]),
            (json!({"pullPolicy": "Always"}), &[]),
            (json!(""), &[]),
            (Value::Null, &[]),
        ] {
            assert_eq!(named(&value).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn what_may_mean_any_image_is_not_passed_over() {
        for value in [json!(7), json!(true), json!({"tag": "v1"}), json!({"repository": "a", "tag": 1.1}), json!([3])] {
            assert!(named(&value).is_err(), "{value}");
        }
    }
}
