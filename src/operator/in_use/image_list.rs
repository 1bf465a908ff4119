//! Images that a `ConfigMap` lists.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::api::v1alpha1::{ExtraImages, ImageListReference};
use crate::oci::RepositoryName;

use super::{
    error::Error,
    image_reference::ImageReference,
    protection::{Protection, User},
};

/// Adds the images that `extra` names, from a `ConfigMap` of `namespace`.
///
/// # Errors
/// When the `ConfigMap` or its key is not there, or a line names no image: what somebody wanted to be kept is not known
/// then.
pub(super) async fn add(
    client: &Client,
    namespace: &str,
    extra: &ExtraImages,
    protection: &mut Protection<'_>,
) -> Result<(), Error> {
    let reference = &extra.config_map_ref;
    let name = reference.name.as_str();
    let unreadable = |message: String| Error::ConfigMap { name: name.to_owned(), message };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api.get(name).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 => Error::NoConfigMap { name: name.to_owned() },
        kube::Error::Api(status) => unreadable(status.message.clone()),
        source => Error::Unanswered { resource: format!("ConfigMap {name}"), source: Box::new(source) },
    })?;
    let user = User { kind: "ConfigMap", namespace, name };
    for text in texts(&map, reference).map_err(unreadable)?.values() {
        for image in images(text).map_err(unreadable)? {
            protection.add(user, image);
        }
    }
    Ok(())
}

/// The values that count, by their keys.
fn texts<'m>(map: &'m ConfigMap, reference: &ImageListReference) -> Result<BTreeMap<&'m str, &'m str>, String> {
    let mut all: BTreeMap<&str, &str> =
        map.data.iter().flatten().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    let Some(key) = &reference.key else {
        return match map.binary_data.iter().flatten().next() {
            Some((key, _)) => Err(format!("its key {key} holds no text; name the key that lists images")),
            None => Ok(all),
        };
    };
    all.retain(|name, _| name == key);
    if all.is_empty() { Err(format!("it has no text under key {key}")) } else { Ok(all) }
}

/// The images of a text, one a line.
fn images(text: &str) -> Result<Vec<&str>, String> {
    let lines = text.lines().map(without_remark).filter(|line| !line.is_empty());
    lines.map(|line| if names_image(line) { Ok(line) } else { Err(format!("{line:?} names no image")) }).collect()
}

fn without_remark(line: &str) -> &str {
    let remark = line.match_indices('#').map(|(at, _)| at).find(|at| {
        let before = line.get(..*at).unwrap_or_default();
        before.is_empty() || before.ends_with(char::is_whitespace)
    });
    remark.and_then(|at| line.get(..at)).unwrap_or(line).trim()
}

/// Whether a line is an image's name as a whole. What pods name is read with more patience; this was written for us.
fn names_image(line: &str) -> bool {
    let image = ImageReference::parse(line);
    if line.contains(char::is_whitespace) || line.contains('@') && image.digest().is_none() {
        return false;
    }
    let is_name = |name: &String| {
        name.rsplit_once(':').is_some_and(|(repository, _)| repository.parse::<RepositoryName>().is_ok())
    };
    // The name as it stands, or without its first component, which may be a host.
    let mut names = image.names().take(2).peekable();
    if names.peek().is_none() { image.digest().is_some() } else { names.any(|name| is_name(&name)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_lines_and_remarks_are_not() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = format!(
            "# for the edge sites\n\nteam/app:v1\n  registry.example.com:5000/team/app:v2  # until spring\r\n\
             team/app@{digest}\n{digest}\napp\n"
        );
        let with_repository = format!("team/app@{digest}");
        let expected =
            ["team/app:v1", "registry.example.com:5000/team/app:v2", with_repository.as_str(), digest.as_str(), "app"];
        assert_eq!(images(&text).unwrap(), expected);
        assert_eq!(images("").unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn line_that_names_no_image_is_told() {
        for line in
            ["team/app:v1 team/app:v2", "- team/app:v1", "team/app@sha256:123", "Team App", "image: a:1", "app:"]
        {
            let words = images(&format!("team/app:v1\n{line}\n")).unwrap_err();
            assert!(words.contains(line), "{line}: {words}");
        }
    }

    #[test]
    fn key_that_is_not_there_and_bytes_are_told() {
        let map: ConfigMap =
            serde_json::from_value(json!({"data": {"a": "x:1", "b": "y:1"}, "binaryData": {"c": "AAAA"}})).unwrap();
        let reference = |key: Option<&str>| ImageListReference { name: "m".to_owned(), key: key.map(str::to_owned) };
        assert_eq!(texts(&map, &reference(Some("b"))).unwrap(), BTreeMap::from([("b", "y:1")]));
        assert!(texts(&map, &reference(Some("d"))).unwrap_err().contains("key d"));
        assert!(texts(&map, &reference(Some("c"))).unwrap_err().contains("key c"));
        assert!(texts(&map, &reference(None)).unwrap_err().contains("key c"));
    }
}
