//! A client that pulls, and asks what there is; each answer is held against all that was answered before.

use std::{collections::BTreeSet, sync::Arc};

use futures::TryStreamExt as _;

use crate::{
    oci::{Digest, Reference, RepositoryName, Tag},
    storage::{Error, ReferrerFilter},
};

use super::{
    asking::ask,
    content::{TAGS, tag},
    history::Asked,
    invariants,
    process::Process,
    world::World,
};

/// Questions to one process about one repository.
pub(super) struct Pull<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) process: &'a Arc<Process>,
    pub(super) repository: &'a RepositoryName,
}

/// The process was away, or did not know.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoAnswer;

impl Pull<'_> {
    /// Pulls all of what a reference leads to; whether there was an answer.
    pub(super) async fn reference(&self, reference: &Reference) -> bool {
        match self.leads_to(reference).await {
            Ok(Some(digest)) => self.content_of(&digest).await,
            Ok(None) => true,
            Err(NoAnswer) => false,
        }
    }

    /// Asks which manifest a reference leads to.
    pub(super) async fn leads_to(&self, reference: &Reference) -> Result<Option<Digest>, NoAnswer> {
        let (world, place, wanted) = (self.world, self.process.catalog.repository(self.repository), reference.clone());
        let from = world.time.now();
        let answer = ask(world, self.process, async move { place.manifest(&wanted).await }).await;
        let asked = world.since(from);
        let seen = match answer {
            Some(Ok(stored)) => Some(stored.descriptor.digest),
            Some(Err(Error::ManifestUnknown { .. })) => None,
            _ => return Err(NoAnswer),
        };
        world.note(&self.process.address, "answers", &reference.to_string(), &format_args!("{seen:?}"));
        self.judge(reference, seen.as_ref(), asked);
        Ok(seen)
    }

    fn judge(&self, reference: &Reference, seen: Option<&Digest>, asked: Asked) {
        let (world, name) = (self.world, self.repository);
        if let Reference::Tag(tag) = reference {
            world.expect(world.history.refute_tag(name, tag, seen, asked));
        }
        match (reference, seen) {
            (_, Some(digest)) => world.expect(world.history.refute_presence(name, digest, asked)),
            (Reference::Digest(digest), None) => {
                world.expect(world.history.refute_absence(&world.content, name, digest, asked));
            }
            (Reference::Tag(_), None) => {}
        }
    }

    /// The blobs and children of a manifest that was just answered.
    async fn content_of(&self, digest: &Digest) -> bool {
        let world = self.world;
        let Some(item) = world.content.item(digest) else { return true };
        for blob in &item.blobs {
            let (place, wanted) = (self.process.catalog.repository(self.repository), super::content::sha256(blob));
            let from = world.time.now();
            let (of, bytes) = (wanted.clone(), blob.clone());
            let read = ask(world, self.process, async move {
                let reader = place.open_blob(&wanted).await?;
                let size = reader.size();
                let chunks = reader.stream(0..size).await?.try_collect::<Vec<_>>().await;
                Ok::<_, Error>(chunks.is_ok_and(|chunks| chunks.concat() == bytes))
            });
            let answer = read.await;
            let asked = world.since(from);
            match answer {
                Some(Ok(true)) => world.expect(world.history.refute_blob(self.repository, &of, asked)),
                Some(Err(Error::BlobUnknown { .. })) => self.judge_missing_blob(digest, &of, asked),
                Some(Ok(false)) if world.network.is_healed() => world.fail(&format!("{of} is damaged")),
                _ => return false,
            }
        }
        true
    }

    fn judge_missing_blob(&self, manifest: &Digest, blob: &Digest, asked: Asked) {
        let (world, name) = (self.world, self.repository);
        let is_visible =
            invariants::revisions(&world.medium.files()).any(|(of, seen)| of == *name && seen == *manifest);
        let was_deleted = world.history.was_blob_deleted(name, blob, std::time::Duration::ZERO, asked.to);
        if is_visible && !was_deleted {
            world.fail(&format!("{name}@{manifest} is pulled, and its blob {blob} is not there"));
        }
    }

    /// What the list of tags says.
    pub(super) async fn tags(&self) -> bool {
        let (world, place) = (self.world, self.process.catalog.repository(self.repository));
        let from = world.time.now();
        let answer = ask(world, self.process, async move { place.tags(None, 100).await }).await;
        let listed: BTreeSet<Tag> = match answer {
            Some(Ok(page)) => page.entries.into_iter().collect(),
            Some(Err(Error::RepositoryUnknown { .. })) => BTreeSet::new(),
            _ => return false,
        };
        world.note(&self.process.address, "lists", self.repository.as_str(), &format_args!("{listed:?}"));
        let asked = world.since(from);
        for tag in TAGS.map(tag) {
            if !listed.contains(&tag) {
                world.expect(world.history.refute_tag(self.repository, &tag, None, asked));
                continue;
            }
            let refuted = |digest: &Digest| world.history.refute_tag(self.repository, &tag, Some(digest), asked);
            let refuted: Vec<Option<String>> = world.content.items.iter().map(|item| refuted(&item.digest)).collect();
            if let Some(Some(why)) = refuted.last().filter(|_| refuted.iter().all(Option::is_some)) {
                world.fail(&format!("tag {tag} is listed, and cannot be there: {why}"));
            }
        }
        true
    }

    /// What refers to a manifest.
    pub(super) async fn referrers(&self, subject: &Digest) -> bool {
        let (world, place, about) = (self.world, self.process.catalog.repository(self.repository), subject.clone());
        let from = world.time.now();
        let answer = ask(world, self.process, async move {
            let filter = ReferrerFilter { artifact_type: None, after: None, page_bytes: usize::MAX, may_note: true };
            place.referrers(&about, filter).await
        });
        let Some(Ok(page)) = answer.await else { return false };
        let listed: BTreeSet<Digest> = page.entries.into_iter().map(|entry| entry.digest).collect();
        let asked = world.since(from);
        for item in world.content.items.iter().filter(|item| item.subject.as_ref() == Some(subject)) {
            let refuted = if listed.contains(&item.digest) {
                world.history.refute_presence(self.repository, &item.digest, asked)
            } else {
                world.history.refute_absence(&world.content, self.repository, &item.digest, asked)
            };
            world.expect(refuted.map(|why| format!("referrers of {subject}: {why}")));
        }
        true
    }
}
