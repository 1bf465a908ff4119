//! From what the storage has to what the engine plans with.

use std::collections::{BTreeSet, HashMap};

use crate::oci::{Digest, ImageConfig, Manifest, Reference, RepositoryName};
use crate::retention::{
    Blob, Criterion, ImageFacts, ManifestContent, ManifestSnapshot, Policy, PullsKnown, RepositorySnapshot, TagSnapshot,
};
use crate::storage::{Catalog, Error, Inventory, PullHistory, Repository, RevisionEntry, TagEntry, is_image_config};

/// What policies ask for beside what every plan needs.
#[derive(Debug)]
pub(super) struct Facts {
    /// What was pulled last; `None` where no policy asks.
    pulls: Option<PullHistory>,
    /// Whether a policy asks what images say of themselves.
    configs: bool,
    /// The labels that policies ask for. The others are not kept.
    labels: BTreeSet<String>,
    /// The annotations that policies ask for, likewise.
    annotations: BTreeSet<String>,
}

impl Facts {
    /// Reads what is asked once for a whole registry; with `with_pulls`, what was pulled, even if no policy asks.
    ///
    /// # Errors
    /// Those of the storage; then nothing is known, and nothing may be planned.
    pub(super) async fn asked_by(policies: &[Policy], catalog: &Catalog, with_pulls: bool) -> Result<Self, Error> {
        let criteria = || policies.iter().flat_map(Policy::criteria);
        let labels = criteria().filter_map(|criterion| match criterion {
            Criterion::Labels(wanted) => Some(wanted.keys().cloned()),
            _ => None,
        });
        let labels = labels.flatten().collect();
        let annotations = criteria().flat_map(Criterion::annotations).map(str::to_owned).collect();
        let configs = criteria().any(Criterion::needs_configs);
        let pulls = if with_pulls || criteria().any(Criterion::needs_pulls) {
            Some(catalog.pull_history().await?)
        } else {
            None
        };
        Ok(Self { pulls, configs, labels, annotations })
    }

    /// Reads everything visible in a repository.
    ///
    /// # Errors
    /// As [`Self::asked_by`].
    pub(super) async fn snapshot(&self, repository: &Repository) -> Result<RepositorySnapshot, Error> {
        let name = repository.name();
        let Inventory { tags, revisions, .. } = repository.inventory().await?;
        let configs = if self.configs { self.read_configs(repository, &revisions).await? } else { HashMap::new() };
        Ok(RepositorySnapshot {
            repository: name.clone(),
            tags: tags.into_iter().map(|entry| self.tag(name, entry)).collect(),
            manifests: revisions.into_iter().map(|entry| self.manifest(name, entry, &configs)).collect(),
            pulls: match &self.pulls {
                None => PullsKnown::Nothing,
                Some(history) => history.missing_until().map_or(PullsKnown::All, PullsKnown::Until),
            },
        })
    }

    async fn read_configs(
        &self,
        repository: &Repository,
        revisions: &[RevisionEntry],
    ) -> Result<HashMap<Digest, ImageConfig>, Error> {
        let named = revisions.iter().filter_map(|revision| revision.manifest.as_ref()?.config.clone());
        let mut configs = repository.image_configs(named.filter(is_image_config)).await?;
        for config in configs.values_mut() {
            config.labels.retain(|label, _| self.labels.contains(label));
        }
        Ok(configs)
    }

    fn tag(&self, name: &RepositoryName, entry: TagEntry) -> TagSnapshot {
        let reference = Reference::Tag(entry.tag.clone());
        TagSnapshot {
            tag: entry.tag,
            digest: entry.digest,
            pushed_at: entry.pushed_at,
            pulled_at: self.pulls.as_ref().and_then(|pulls| pulls.pulled_at(name, &reference)),
            // A restore is recorded for the manifest, and the engine looks there for its tags, too.
            restored_at: None,
        }
    }

    fn manifest(
        &self,
        name: &RepositoryName,
        entry: RevisionEntry,
        configs: &HashMap<Digest, ImageConfig>,
    ) -> ManifestSnapshot {
        let reference = Reference::Digest(entry.digest.clone());
        ManifestSnapshot {
            digest: entry.digest,
            media_type: entry.manifest.as_ref().map(|manifest| manifest.media_type.clone()),
            size: entry.size,
            pushed_at: entry.pushed_at,
            pulled_at: self.pulls.as_ref().and_then(|pulls| pulls.pulled_at(name, &reference)),
            untagged_since: entry.untagged_since,
            restored_at: entry.restored_at,
            content: entry.manifest.map(|manifest| self.content(manifest, configs)),
        }
    }

    fn content(&self, manifest: Manifest, configs: &HashMap<Digest, ImageConfig>) -> ManifestContent {
        ManifestContent {
            children: manifest.children().map(|child| child.digest.clone()).collect(),
            platforms: manifest.children().filter_map(|child| child.platform.as_deref().cloned()).collect(),
            config: manifest.config.as_ref().map(|config| config.digest.clone()),
            // What may be elsewhere may not be here, and nobody has compared its size with anything.
            blobs: manifest
                .blobs()
                .filter(|blob| blob.is_required())
                .map(|blob| Blob { digest: blob.digest.clone(), size: blob.size })
                .collect(),
            subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
            artifact_type: manifest.referrer_type(),
            image: match manifest.config.as_ref().filter(|config| is_image_config(config)) {
                None => ImageFacts::None,
                Some(config) => configs.get(&config.digest).cloned().map_or(ImageFacts::Unknown, ImageFacts::Known),
            },
            annotations: manifest.annotations.into_iter().filter(|(name, _)| self.annotations.contains(name)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_that_no_policy_asks_for_are_not_kept() {
        let index =
            json!({"schemaVersion": 2, "manifests": [], "annotations": {"tier": "gold", "description": "long"}});
        let manifest = Manifest::parse(None, index.to_string().as_bytes()).unwrap();
        let annotations = BTreeSet::from(["tier".to_owned()]);
        let facts = Facts { pulls: None, configs: false, labels: BTreeSet::new(), annotations };
        let kept = facts.content(manifest, &HashMap::new()).annotations;
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [("tier".to_owned(), "gold".to_owned())]);
    }
}
