//! Tags that never move.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::FieldError;
use crate::retention::ImmutableTags;

/// Tags that stay what they were first pushed as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImmutableTagsSpec {
    /// Patterns of which a repository's whole name must match one. `*` stands for anything but a slash, `**` for
    /// anything; what follows `regex:` is a regular expression.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 255)))]
    #[serde(default = "all_repositories")]
    pub repositories: Vec<String>,
    /// Patterns of the tags, such as `v*` or `regex:v[0-9]+`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub tags: Vec<String>,
}

fn all_repositories() -> Vec<String> {
    vec!["**".to_owned()]
}

/// What the entries of a list name, all together.
///
/// # Errors
/// The first that is wrong, at `immutableTags[<number>]`.
pub fn compile_immutable_tags(entries: &[ImmutableTagsSpec]) -> Result<ImmutableTags, FieldError> {
    let mut immutable = ImmutableTags::none();
    for (at, entry) in entries.iter().enumerate() {
        let path = format!("immutableTags[{at}]");
        if entry.tags.is_empty() || entry.repositories.is_empty() {
            return Err(FieldError::new(path, "names nothing: it needs a pattern of repositories and one of tags"));
        }
        immutable.add(&entry.repositories, &entry.tags).map_err(|error| FieldError::new(path, error))?;
    }
    Ok(immutable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<ImmutableTags, FieldError> {
        compile_immutable_tags(&serde_yaml::from_str::<Vec<ImmutableTagsSpec>>(text).unwrap())
    }

    #[test]
    fn entries_are_about_all_repositories_where_they_name_none() {
        let immutable = compile("[{tags: ['v*']}, {repositories: [base], tags: ['*']}]").unwrap();
        for (repository, tag, expected) in [("a/b", "v1", true), ("a/b", "latest", false), ("base", "latest", true)] {
            assert_eq!(immutable.contains(&repository.parse().unwrap(), &tag.parse().unwrap()), expected);
        }
        assert!(!compile("[]").unwrap().contains(&"a".parse().unwrap(), &"v1".parse().unwrap()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, part) in
            [("[{tags: ['v*']}, {tags: ['v[']}]", "\"v[\""), ("[{tags: [a]}, {tags: []}]", "names nothing")]
        {
            let error = compile(text).unwrap_err();
            assert_eq!(error.path, "immutableTags[1]");
            assert!(error.message.contains(part), "{error}");
        }
    }
}
