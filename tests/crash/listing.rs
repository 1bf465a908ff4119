//! What a registry's lists say: the catalog, tags, referrers, histories, the trash, and what policies go by.

use std::collections::{BTreeMap, BTreeSet};

use lagan::oci::{Digest, Tag};
use lagan::storage::{Error, ReferrerFilter, RevisionEntry, TombstoneKind, TombstoneState, TrashFilter};

use super::{
    image::Image,
    registry::{ALL, Registry, repository_name, said},
    scenario::{Action, Scenario},
};

/// Said by the report of a collection: the next one goes by it, where repositories vanished meanwhile.
pub(crate) const COLLECTED: &str = "a collection came to its end";

/// How entries of the trash end.
const REVIVED: &str = " is revived";
const RESTORABLE: &str = " is restorable";

/// Each line of each list as a sentence.
pub(crate) type Listing = BTreeSet<String>;

/// Why what is listed is not what was so before the action that was interrupted, nor after it, nor in between. Some lines
/// may be lacking then.
pub(crate) fn check(
    found: &Listing,
    before: &Listing,
    after: &Listing,
    may_lack: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let lasting = before.intersection(after).filter(|line| !may_lack(line));
    let missing: Vec<_> = lasting.filter(|line| !found.contains(*line)).collect();
    // What is restored is back before its entry goes.
    let is_back =
        |line: &str| line.strip_suffix(REVIVED).is_some_and(|rest| before.contains(&format!("{rest}{RESTORABLE}")));
    let wrong = found.iter().filter(|line| !before.contains(*line) && !after.contains(*line) && !is_back(line));
    let wrong: Vec<_> = wrong.collect();
    if missing.is_empty() && wrong.is_empty() {
        return Ok(());
    }
    Err(format!("the lists lack {missing:?}, and have {wrong:?}"))
}

/// What the lists have to say before the first action of a scenario, after it, and so on.
pub(crate) fn expected(scenario: &Scenario) -> Vec<Listing> {
    let mut world = World::default();
    scenario.before.iter().for_each(|action| world.apply(action));
    let mut listings = vec![world.listing()];
    for action in &scenario.actions {
        world.apply(action);
        listings.push(world.listing());
    }
    listings
}

/// What is to be asked for by name: each tag and each subject that there ever is, with its repository.
pub(crate) fn names(scenario: &Scenario) -> Names {
    let mut names = Names::default();
    for action in scenario.before.iter().chain(&scenario.actions).flat_map(Action::parts) {
        if let Action::PutManifest { repository, reference, image } = action {
            if let Ok(tag) = reference.parse::<Tag>() {
                names.tags.insert((repository.to_owned(), tag));
            }
            names.subjects.extend(image.subject.clone().map(|subject| (repository.to_owned(), subject)));
        }
    }
    names
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    tags: BTreeSet<(String, Tag)>,
    subjects: BTreeSet<(String, Digest)>,
}

/// What there should be.
#[derive(Default)]
struct World {
    images: BTreeMap<String, Image>,
    revisions: BTreeMap<(String, String), Marks>,
    tags: BTreeMap<(String, String), String>,
    histories: BTreeMap<(String, String), Vec<String>>,
    /// Newest last.
    trash: Vec<Buried>,
    is_collected: bool,
}

#[derive(Default, Clone, Copy)]
struct Marks {
    untagged: bool,
    restored: bool,
}

struct Buried {
    kind: TombstoneKind,
    repository: String,
    digest: String,
    tags: Vec<String>,
    is_revived: bool,
}

impl World {
    fn apply(&mut self, action: &Action) {
        for part in action.parts() {
            match part {
                Action::PutManifest { repository, reference, image } => self.put(repository, &reference, &image),
                Action::Delete { repository, reference } => self.delete(repository, &reference),
                Action::DeleteBlob { repository, digest } => {
                    let (kind, repository) = (TombstoneKind::Blob, repository.to_owned());
                    let (digest, tags) = (digest.to_string(), Vec::new());
                    self.trash.push(Buried { kind, repository, digest, tags, is_revived: false });
                }
                Action::DeleteRepository { repository } => {
                    let all = self.revisions.keys().filter(|(name, _)| name == repository);
                    let all: Vec<String> = all.map(|(_, digest)| digest.clone()).collect();
                    for digest in &all {
                        self.delete(repository, digest);
                    }
                }
                Action::Restore { repository, reference, .. } => self.restore(repository, &reference),
                Action::RestoreGroup { repository } => {
                    let all = self.trash.iter().filter(|entry| entry.repository == repository);
                    let all: Vec<String> = all.map(|entry| entry.digest.clone()).collect();
                    for digest in &all {
                        self.restore(repository, digest);
                    }
                }
                Action::Collect => self.is_collected = true,
                Action::Purge { repository, reference } => {
                    self.trash.retain(|entry| entry.repository != repository || entry.digest != reference);
                }
                _ => {}
            }
        }
    }

    fn put(&mut self, repository: &str, reference: &str, image: &Image) {
        let digest = image.digest().to_string();
        self.images.insert(digest.clone(), image.clone());
        self.revisions.entry((repository.to_owned(), digest.clone())).or_default().untagged = false;
        let tag = (reference != digest).then(|| reference.to_owned());
        for entry in self.trash.iter_mut().filter(|entry| entry.repository == repository && entry.digest == digest) {
            entry.is_revived |= match entry.kind {
                TombstoneKind::Manifest => true,
                TombstoneKind::Tag => tag.as_ref().is_some_and(|tag| entry.tags.contains(tag)),
                TombstoneKind::Blob => false,
            };
        }
        if let Some(tag) = tag {
            self.tag(repository, tag, &digest);
        }
    }

    fn tag(&mut self, repository: &str, tag: String, digest: &str) {
        let key = (repository.to_owned(), tag);
        let history = self.histories.entry(key.clone()).or_default();
        // Who asks twice for the same is noted twice.
        if history.last().is_none_or(|last| last != digest) {
            history.push(digest.to_owned());
        }
        if let Some(previous) = self.tags.insert(key, digest.to_owned()).filter(|previous| previous != digest)
            && let Some(marks) = self.revisions.get_mut(&(repository.to_owned(), previous))
        {
            marks.untagged = true;
        }
    }

    fn delete(&mut self, repository: &str, reference: &str) {
        let own = |text: &str| (repository.to_owned(), text.to_owned());
        let buried = if let Some(digest) = self.tags.remove(&own(reference)) {
            self.revisions.entry(own(&digest)).or_default().untagged = true;
            let tags = vec![reference.to_owned()];
            Buried { kind: TombstoneKind::Tag, repository: repository.to_owned(), digest, tags, is_revived: false }
        } else {
            self.revisions.remove(&own(reference));
            let mut tags = Vec::new();
            self.tags.retain(|(name, tag), digest| {
                let is_of_it = name == repository && digest == reference;
                tags.extend(is_of_it.then(|| tag.clone()));
                !is_of_it
            });
            self.leave(repository, reference, !tags.is_empty());
            let (kind, digest) = (TombstoneKind::Manifest, reference.to_owned());
            Buried { kind, repository: repository.to_owned(), digest, tags, is_revived: false }
        };
        self.trash.push(buried);
    }

    /// What a deleted manifest listed is without a tag since then, or since that was; so is what says something about it.
    fn leave(&mut self, repository: &str, deleted: &str, had_tag: bool) {
        let listed = self.images[deleted].children.iter().map(|child| child.digest().to_string());
        let mut left: Vec<String> = listed.collect();
        if had_tag {
            let is_about = |image: &Image| image.subject.as_ref().is_some_and(|subject| subject.to_string() == deleted);
            left.extend(self.images.iter().filter(|(_, image)| is_about(image)).map(|(digest, _)| digest.clone()));
        }
        for digest in left {
            if let Some(marks) = self.revisions.get_mut(&(repository.to_owned(), digest)) {
                marks.untagged = true;
            }
        }
    }

    /// Brings back the newest entry of what a reference names. What its tags point to now loses them.
    fn restore(&mut self, repository: &str, reference: &str) {
        let is_it = |entry: &Buried| entry.digest == reference || entry.tags.iter().any(|tag| tag == reference);
        let at = self.trash.iter().rposition(is_it).unwrap();
        let entry = self.trash.remove(at);
        if entry.kind == TombstoneKind::Blob {
            return;
        }
        let digest = entry.digest.as_str();
        for tag in &entry.tags {
            if self.tags.get(&(repository.to_owned(), tag.clone())).is_some_and(|target| target != digest) {
                self.delete(repository, tag);
            }
        }
        let mut closure = vec![self.images[digest].clone()];
        while let Some(image) = closure.pop() {
            let key = (repository.to_owned(), image.digest().to_string());
            self.revisions.insert(key, Marks { untagged: false, restored: true });
            let own = image.digest().to_string();
            let deleted_too = |entry: &&mut Buried| entry.repository == repository && entry.digest == own;
            for entry in self.trash.iter_mut().filter(deleted_too).filter(|entry| entry.kind == TombstoneKind::Manifest)
            {
                entry.is_revived |= own != digest;
            }
            closure.extend(image.children);
        }
        for tag in &entry.tags {
            self.tag(repository, tag.clone(), digest);
        }
    }

    fn listing(&self) -> Listing {
        let mut lines = Listing::new();
        for ((repository, digest), marks) in &self.revisions {
            lines.insert(format!("repository {repository}"));
            lines.insert(format!("manifest {repository}@{digest}"));
            let is_tagged = self.tags.iter().any(|((name, _), target)| name == repository && target == digest);
            if marks.restored {
                lines.insert(format!("{repository}@{digest} was restored"));
            }
            if marks.untagged && !is_tagged {
                lines.insert(format!("{repository}@{digest} was left by its tag"));
            }
            if let Some(subject) = self.images[digest].subject.as_ref() {
                lines.insert(format!("{repository}@{digest} refers to {subject}"));
            }
        }
        for ((repository, tag), digest) in &self.tags {
            lines.insert(format!("tag {repository}:{tag}"));
            lines.insert(format!("{repository}:{tag} is {digest}"));
        }
        for ((repository, tag), digests) in &self.histories {
            lines.extend(past(repository, tag, digests.iter()));
        }
        for entry in &self.trash {
            let Buried { kind, repository, digest, tags, is_revived } = entry;
            lines.insert(buried(*kind, repository, digest, tags, *is_revived));
        }
        lines.extend(self.is_collected.then(|| COLLECTED.to_owned()));
        lines
    }
}

fn past<'a>(repository: &str, tag: &str, digests: impl Iterator<Item = &'a String>) -> Vec<String> {
    digests.enumerate().map(|(number, digest)| format!("{repository}:{tag} was {number} {digest}")).collect()
}

fn buried(kind: TombstoneKind, repository: &str, digest: &str, tags: &[String], is_revived: bool) -> String {
    let state = if is_revived { REVIVED } else { RESTORABLE };
    format!("trash: {kind:?} {repository}@{digest} with {tags:?}{state}")
}

/// What the lists say.
pub(crate) async fn found(registry: &Registry, names: &Names) -> Result<Listing, String> {
    let mut lines = Listing::new();
    let repositories = registry.catalog.repositories(None, ALL).await.map_err(said("the catalog"))?;
    for name in repositories.entries {
        lines.insert(format!("repository {name}"));
        lines.extend(in_repository(registry, name.as_str()).await.map_err(said(&name))?);
    }
    for (repository, tag) in &names.tags {
        lines.extend(history(registry, repository, tag).await.map_err(said(tag))?);
    }
    for (name, subject) in &names.subjects {
        let filter = ReferrerFilter { artifact_type: None, after: None, page_bytes: 1 << 20, may_note: true };
        let found = registry.repository(name).referrers(subject, filter).await.map_err(said("referrers"))?;
        lines.extend(found.entries.iter().map(|found| format!("{name}@{} refers to {subject}", found.digest)));
    }
    let trash = registry.catalog.trash().list(&TrashFilter::default(), None, ALL).await.map_err(said("the trash"))?;
    for entry in trash.entries {
        let tags: Vec<String> = entry.tags.iter().map(ToString::to_string).collect();
        if entry.state == TombstoneState::Missing {
            return Err(format!("what the trash has cannot be restored: {entry:?}"));
        }
        let is_revived = entry.state == TombstoneState::Revived;
        let (repository, digest) = (entry.repository.to_string(), entry.digest.to_string());
        lines.insert(buried(entry.kind, &repository, &digest, &tags, is_revived));
    }
    lines.extend(registry.has_collected().await?.then(|| COLLECTED.to_owned()));
    Ok(lines)
}

async fn in_repository(registry: &Registry, name: &str) -> Result<Listing, Error> {
    let mut lines = Listing::new();
    let repository = registry.catalog.repository(&repository_name(name));
    let tags = repository.tags(None, ALL).await?.entries;
    lines.extend(tags.iter().map(|tag| format!("tag {name}:{tag}")));
    let inventory = repository.inventory().await?;
    lines.extend(inventory.tags.iter().map(|entry| format!("{name}:{} is {}", entry.tag, entry.digest)));
    for entry in &inventory.revisions {
        lines.insert(format!("manifest {name}@{}", entry.digest));
        if entry.restored_at.is_some() {
            lines.insert(format!("{name}@{} was restored", entry.digest));
        }
        if was_left(entry) {
            lines.insert(format!("{name}@{} was left by its tag", entry.digest));
        }
    }
    Ok(lines)
}

/// Whether it is without a tag since another moment than that of its push or restore.
fn was_left(entry: &RevisionEntry) -> bool {
    entry.untagged_since.is_some_and(|since| Some(since) > entry.pushed_at.max(entry.restored_at))
}

/// Oldest first. Who asked twice for the same was noted twice.
async fn history(registry: &Registry, repository: &str, tag: &Tag) -> Result<Vec<String>, Error> {
    let mut digests: Vec<String> = match registry.repository(repository).tag_history(tag, None, ALL).await {
        // Without its own record an entry is made up from the tag's index, and nobody knows when it was, or who.
        Ok(page) => {
            let noted = page.entries.iter().rev().filter(|entry| entry.id.is_some());
            noted.map(|entry| entry.digest.to_string()).collect()
        }
        Err(Error::ManifestUnknown { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    digests.dedup();
    Ok(past(repository, tag.as_str(), digests.iter()))
}
