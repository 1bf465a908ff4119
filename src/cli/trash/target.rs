//! What the user means of the trash.

use std::{fmt, str::FromStr};

use crate::api::wire::{TombstoneView, TrashPage};
use crate::oci::{Reference, RepositoryName};

use crate::cli::image::Image;
use crate::cli::registry_client::RegistryClient;

/// How many entries to ask for at a time. The answer stays below a megabyte even where closures are long.
const PAGE: &str = "500";

/// What is meant of the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// An entry by its id.
    Entry(String),
    /// The newest entry that a tag or digest names.
    Image(Image),
    /// What was deleted last from a repository, all of it.
    Repository(RepositoryName),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(id) => f.write_str(id),
            Self::Image(image) => image.fmt(f),
            Self::Repository(repository) => repository.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains([':', '@']) {
            return text.parse().map(Self::Image);
        }
        if is_ulid(text) {
            return Ok(Self::Entry(text.to_ascii_uppercase()));
        }
        let shapes = "write REPOSITORY:TAG, REPOSITORY@DIGEST, REPOSITORY, or an id from `lagan trash list`";
        let name = text.parse().map_err(|error| format!("repository {text:?}: {error}: {shapes}"));
        name.map(Self::Repository)
    }
}

impl Target {
    /// The tag or digest, where it is one.
    pub(super) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Image(image) => Some(&image.reference),
            Self::Entry(_) | Self::Repository(_) => None,
        }
    }
}

/// Whether a text has the form of an entry's id.
pub(super) fn is_ulid(text: &str) -> bool {
    ulid::Ulid::from_string(text).is_ok()
}

/// Which entries to list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filter<'a> {
    /// Of this repository.
    pub(super) repository: Option<&'a RepositoryName>,
    /// That this tag or digest would bring back.
    pub(super) reference: Option<&'a Reference>,
    /// Of this group.
    pub(super) group: Option<&'a str>,
}

/// All entries that the filter admits, newest first.
pub(super) async fn list(client: &RegistryClient, filter: Filter<'_>) -> anyhow::Result<Vec<TombstoneView>> {
    let reference = filter.reference.map(Reference::to_string);
    let mut entries = Vec::new();
    let mut last: Option<String> = None;
    loop {
        let mut query = vec![("n", PAGE)];
        query.extend(filter.repository.map(|name| ("repository", name.as_str())));
        query.extend(reference.as_deref().map(|text| ("reference", text)));
        query.extend(filter.group.map(|group| ("group", group)));
        query.extend(last.as_deref().map(|id| ("last", id)));
        let page: TrashPage = client.get(&["trash"], &query).await?;
        entries.extend(page.entries);
        match page.next {
            Some(next) if last.as_ref() == Some(&next) => {
                anyhow::bail!("the registry repeats its page of the trash after {next}")
            }
            Some(next) => last = Some(next),
            None => return Ok(entries),
        }
    }
}

/// The entry that is meant: of several, the newest.
pub(super) async fn found(client: &RegistryClient, what: &Target) -> anyhow::Result<TombstoneView> {
    find(client, what).await?.ok_or_else(|| anyhow::anyhow!("the trash holds nothing of {what}"))
}

/// As [`found`]; `None` where the trash holds nothing that a name fits.
pub(super) async fn find(client: &RegistryClient, what: &Target) -> anyhow::Result<Option<TombstoneView>> {
    let (repository, reference) = match what {
        Target::Entry(id) => return client.get(&["trash", id], &[]).await.map(Some),
        Target::Image(Image { repository, reference }) => (repository, Some(reference)),
        Target::Repository(repository) => (repository, None),
    };
    let filter = Filter { repository: Some(repository), reference, group: None };
    Ok(list(client, filter).await?.into_iter().next())
}

/// All that was deleted together with an entry, itself included.
pub(super) async fn group_of(client: &RegistryClient, entry: &TombstoneView) -> anyhow::Result<Vec<TombstoneView>> {
    list(client, Filter { repository: Some(&entry.repository), reference: None, group: Some(&entry.group) }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_a_tag_a_digest_a_repository_or_an_id() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image = |repository: &str, reference: &str| {
            Target::Image(Image { repository: repository.parse().unwrap(), reference: reference.parse().unwrap() })
        };
        assert_eq!("team/app:1.2".parse(), Ok(image("team/app", "1.2")));
        assert_eq!(format!("team/app@{digest}").parse(), Ok(image("team/app", &digest)));
        assert_eq!("team/app".parse(), Ok(Target::Repository("team/app".parse().unwrap())));
        assert_eq!("01arz3ndektsv4rrffq69g5fav".parse(), Ok(Target::Entry("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned())));
    }

    #[test]
    fn target_that_names_nothing_says_what_to_write() {
        let error = "App".parse::<Target>().unwrap_err();
        assert!(error.contains("REPOSITORY:TAG"), "{error}");
        let error = "App:1".parse::<Target>().unwrap_err();
        assert!(error.contains("repository \"App\""), "{error}");
    }
}
