//! Tags: that each that is listed leads to a manifest.

use crate::oci::{Algorithm, Digest, RepositoryName, Tag};
use crate::storage::{
    Error, blobs::link::Link, guard::keys::Key, layout::PathSpec, store::Store, tags::pushes::TagPush,
};

use super::{Finding, FindingKind, Inspection};

/// What is wrong with a tag.
enum TagDamage {
    /// It holds no digest; its index says that this was the last one.
    Torn(Digest),
    /// It names a manifest that is not visible.
    Dangling(Digest),
    /// Nothing says what it pointed to.
    Lost,
}

impl Inspection {
    pub(super) async fn tags(&self, name: &RepositoryName) -> Result<(), Error> {
        let names = self.store.names(PathSpec::Tags(name)).await?;
        let tags: Vec<Tag> = names.iter().filter_map(|text| text.parse().ok()).collect();
        self.each(&tags, |tag| self.tag(name, tag.clone())).await
    }

    async fn tag(&self, name: &RepositoryName, tag: Tag) -> Result<(), Error> {
        let tag = &tag;
        let keys = [Key::Tag(name.clone(), tag.clone())];
        let found = self.steady(keys, || self.tag_damage(name, tag)).await?;
        self.progress.tags.add(1);
        let Some((damage, held)) = found else { return self.tag_index(name, tag).await };
        let spec = PathSpec::TagCurrent(name, tag);
        let (kind, detail) = match &damage {
            TagDamage::Torn(last) => (FindingKind::TornLink, format!("it holds no digest; the last one was {last}")),
            TagDamage::Dangling(digest) => {
                (FindingKind::DanglingTag, format!("it points to {digest}, which is not in the repository"))
            }
            TagDamage::Lost => (FindingKind::DanglingTag, "its push was not finished: it points to nothing".to_owned()),
        };
        let finding = Finding::new(kind, spec.path()).of(name).tagged(tag).saying(detail);
        self.mend(finding, async {
            match &damage {
                TagDamage::Torn(last) => held.store.put_link(spec, last).await,
                TagDamage::Dangling(digest) => Self::remove_tag(&held.store, name, tag, Some(digest)).await,
                TagDamage::Lost => Self::remove_tag(&held.store, name, tag, None).await,
            }
        })
        .await
    }

    async fn tag_damage(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<TagDamage>, Error> {
        let current = self.store.raw_link(PathSpec::TagCurrent(name, tag)).await?;
        let target = self.store.tag_target(name, tag).await?;
        Ok(match (current, target) {
            (None, _) if !self.store.is_folder(PathSpec::TagFolder(name, tag)).await? => None,
            (None, _) | (_, None) => Some(TagDamage::Lost),
            (Some(current), Some(target)) if !self.store.is_visible(name, &target).await? => match current {
                Link::To(_) => Some(TagDamage::Dangling(target)),
                Link::Torn => Some(TagDamage::Lost),
            },
            (Some(Link::Torn), Some(target)) => Some(TagDamage::Torn(target)),
            (Some(Link::To(_)), Some(_)) => None,
        })
    }

    /// What a tag pointed to stays in its history.
    async fn remove_tag(store: &Store, name: &RepositoryName, tag: &Tag, digest: Option<&Digest>) -> Result<(), Error> {
        if let Some(digest) = digest
            && store.tag_pushed_at(name, tag, digest).await?.is_none()
            && let Some(pushed_at) = store.age(PathSpec::TagCurrent(name, tag)).await?
        {
            let push = TagPush { digest: digest.clone(), pushed_at, actor: "unknown".to_owned(), restored: false };
            store.put_tag_push(name, tag, &push).await?;
        }
        store.remove_tag(name, tag).await?;
        if let Some(digest) = digest {
            store.reach.tags.forget(name, digest, tag);
        }
        Ok(())
    }

    /// Looks at what a tag has pointed to.
    async fn tag_index(&self, name: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        for algorithm in Algorithm::ALL {
            for hex in self.store.names(PathSpec::TagIndexes(name, tag, algorithm)).await? {
                let Ok(digest) = format!("{algorithm}:{hex}").parse::<Digest>() else { continue };
                let keys = [Key::Tag(name.clone(), tag.clone())];
                self.link(PathSpec::TagIndex(name, tag, &digest), name, &digest, keys).await?;
            }
        }
        Ok(())
    }
}
